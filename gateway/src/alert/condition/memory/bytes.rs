//! A memory as bytes and back, exactly. A version first, then the kind; what cannot be a memory of the condition is none.

use super::{Arrivals, Condition, Events, Learned, MAX_COUNT, Memory, Run};
use crate::{
    alert::anomaly::{Detector, Input, Mood, Score},
    model::Value,
};

/// Of this layout.
const VERSION: u8 = 1;

impl Memory {
    /// Everything that is remembered, 4 KiB at most.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::Run(run) => {
                out.push(0);
                out.extend(run.since.0.to_le_bytes());
                out.extend(run.newest.0.to_le_bytes());
                out.extend(run.readings.to_le_bytes());
                out.push(u8::from(run.open));
                match &run.value {
                    Value::Bool(on) => out.extend([0, u8::from(*on)]),
                    Value::Int(int) => {
                        out.push(1);
                        out.extend(int.to_le_bytes());
                    }
                    Value::Float(float) => {
                        out.push(2);
                        out.extend(float.to_le_bytes());
                    }
                    Value::Text(text) => {
                        out.push(3);
                        out.extend(text.as_bytes());
                    }
                }
            }
            Self::Events(events) => {
                out.push(1);
                out.extend(events.began.0.to_le_bytes());
                out.push(events.under_way.map_or(2, u8::from));
                for time in &events.times {
                    out.extend(time.to_le_bytes());
                }
            }
            Self::Learned(learned) => {
                let Score {
                    score,
                    expected,
                    learning,
                } = learned.score;
                let (low, high) = expected.unwrap_or_default();
                out.push(2);
                for number in [score, low, high] {
                    out.extend(number.to_le_bytes());
                }
                let mood = match learned.mood {
                    Mood::Learning => 0,
                    Mood::Strange => 1,
                    Mood::Uneasy => 2,
                    Mood::Calm => 3,
                };
                out.extend([u8::from(expected.is_some()), u8::from(learning), mood]);
                out.extend(learned.detector.to_bytes());
            }
            Self::Arrivals(arrivals) => {
                out.push(3);
                arrivals.write(&mut out);
            }
        }
        out
    }

    /// What `to_bytes` wrote; `None` if it is something else, or not a memory of this condition.
    pub(crate) fn from_bytes(bytes: &[u8], condition: &Condition) -> Option<Self> {
        let mut input = Input(bytes);
        if input.byte()? != VERSION {
            return None;
        }
        match (input.byte()?, condition) {
            (0, Condition::Stuck { .. }) => run(input).map(Self::Run),
            (1, Condition::Count { more_than, .. }) => {
                let most = (*more_than).min(MAX_COUNT) as usize + 1;
                events(input, most).map(Self::Events)
            }
            (2, Condition::Unusual { .. }) => {
                learned(input).map(|learned| Self::Learned(Box::new(learned)))
            }
            (3, Condition::Overdue) => Arrivals::read(input).map(Self::Arrivals),
            _ => None,
        }
    }
}

fn run(mut input: Input<'_>) -> Option<Run> {
    let (since, newest) = (input.time()?, input.time()?);
    let (readings, open) = (input.half()?, flag(&mut input)?);
    let value = match input.byte()? {
        0 => Value::Bool(flag(&mut input)?),
        1 => Value::Int(input.word()?.cast_signed()),
        2 => Value::Float(input.number()?),
        3 => {
            let text = std::str::from_utf8(std::mem::take(&mut input.0)).ok()?;
            Value::Text(text.into())
        }
        _ => return None,
    };
    input.0.is_empty().then_some(Run {
        value,
        since,
        newest,
        readings,
        open,
    })
}

fn events(mut input: Input<'_>, most: usize) -> Option<Events> {
    let began = input.time()?;
    let under_way = match input.byte()? {
        0 => Some(false),
        1 => Some(true),
        2 => None,
        _ => return None,
    };
    let mut events = Events {
        times: std::collections::VecDeque::new(),
        began,
        under_way,
    };
    while !input.0.is_empty() {
        events.times.push_back(input.time()?.0);
    }
    (events.times.len() <= most).then_some(events)
}

fn learned(mut input: Input<'_>) -> Option<Learned> {
    let (score, low, high) = (input.number()?, input.number()?, input.number()?);
    let expected = flag(&mut input)?.then_some((low, high));
    let learning = flag(&mut input)?;
    let mood = match input.byte()? {
        0 => Mood::Learning,
        1 => Mood::Strange,
        2 => Mood::Uneasy,
        3 => Mood::Calm,
        _ => return None,
    };
    Some(Learned {
        detector: Detector::from_bytes(input.0)?,
        score: Score {
            score,
            expected,
            learning,
        },
        mood,
    })
}

fn flag(input: &mut Input<'_>) -> Option<bool> {
    match input.byte()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
