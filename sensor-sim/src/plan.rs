//! A device as a sequence of ticks: what it sends when, to the byte. Pure: the same scenario, device and start give
//! the same ticks. Nothing here sleeps or sends.

use std::time::Duration;

use bytes::Bytes;
use rand_chacha::{ChaCha8Rng, rand_core::RngCore};
use serde::{Deserialize, Serialize};

use crate::{
    encode::{self, Field, Time},
    fault::Trouble,
    scenario::{Device, FaultKind, Format, Scenario, TimeForm, Transport},
    signal::{Course, Moment, Value, chance},
};

/// Garbage has at most this many bytes.
const MAX_GARBAGE: u32 = 48;

/// What is to become of a reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// It is to be stored, once.
    #[default]
    Stored,
    /// It is to be refused and counted.
    Rejected,
    /// Both are right: a good value beside a NaN that makes the whole record no JSON.
    Either,
}

/// One value as it was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// What was measured.
    pub metric: String,
    /// Absent for NaN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What is to become of it.
    #[serde(default, skip_serializing_if = "is_stored")]
    pub expect: Expect,
}

/// One payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// For the topic, when the format carries one metric a message.
    pub metric: Option<String>,
    /// The bytes, without a line end.
    pub payload: Bytes,
    /// The time in the payload, cut to what its form can say; nanoseconds since the epoch. `None`: it carries none.
    pub time: Option<i64>,
    /// What is in it. Empty for garbage.
    pub readings: Vec<Reading>,
    /// The same message was sent just before: it is to be stored once.
    pub copy: bool,
    /// What is to become of the message as a whole.
    pub expect: Expect,
}

/// What a device does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send this.
    Send(Message),
    /// Lose the connection for so long.
    Disconnect(Duration),
}

/// All that happens at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Since the start.
    pub at: Duration,
    /// In order; may be empty.
    pub actions: Vec<Action>,
}

/// The ticks of one device.
#[derive(Debug)]
pub struct Plan {
    device: Device,
    start_ns: i64,
    end: Option<Duration>,
    courses: Vec<Course>,
    sequence: Option<Course>,
    troubles: Vec<Trouble>,
    garbage: ChaCha8Rng,
    /// What each stuck fault holds on to, one entry a trouble.
    stuck: Vec<Vec<Value>>,
    /// Messages that others are to overtake, with how many still.
    held: Vec<(u32, Message)>,
    index: u64,
    ended: bool,
}

/// What the faults of this moment ask for.
#[derive(Default)]
struct Wishes {
    disconnect: Option<Duration>,
    drop_out: bool,
    garbage: bool,
    duplicate: bool,
    reorder: Option<u32>,
    clock_off: i64,
    /// One flag a signal.
    not_a_number: Vec<bool>,
}

impl Plan {
    /// The plan of the device with this index; `None` if there is no such device. `start_ns` is the time of the first
    /// tick, in nanoseconds since the epoch.
    #[must_use]
    pub fn new(scenario: &Scenario, device: usize, start_ns: i64) -> Option<Self> {
        let device = scenario.devices.get(device)?.clone();
        let seed = scenario.seed;
        let courses = device
            .signals
            .iter()
            .map(|signal| {
                let rng = chance(seed, &[&device.id, "signal", &signal.metric]);
                Course::new(signal.clone(), rng)
            })
            .collect();
        let sequence = device.sequence.then(|| {
            let mut signal = crate::scenario::Signal::new(
                Scenario::SEQUENCE_METRIC,
                None,
                crate::scenario::Shape::Counter,
            );
            signal.offset = 1.0;
            signal.kind = crate::scenario::Kind::Integer;
            Course::new(signal, chance(seed, &[]))
        });
        let troubles: Vec<_> = device
            .faults
            .iter()
            .enumerate()
            .map(|(index, fault)| {
                let rng = chance(seed, &[&device.id, "fault", &index.to_string()]);
                Trouble::new(fault.clone(), rng)
            })
            .collect();
        Some(Self {
            garbage: chance(seed, &[&device.id, "garbage"]),
            stuck: vec![Vec::new(); troubles.len()],
            courses,
            sequence,
            troubles,
            start_ns,
            end: scenario.duration,
            held: Vec::new(),
            index: 0,
            ended: false,
            device,
        })
    }

    /// The device that it is the plan of.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }

    fn tick(&mut self, at: Duration) -> Vec<Action> {
        let moment = Moment {
            elapsed: at,
            time_ns: add(self.start_ns, at),
            index: self.index,
        };
        let numbers: Vec<f64> = self.courses.iter_mut().map(|c| c.next(moment)).collect();
        let (values, wishes) = self.suffer(at, numbers);
        let sequence = self.sequence.as_mut().map(|course| {
            let count = course.next(moment);
            course.quantise(count)
        });
        let mut actions = Vec::new();
        actions.extend(wishes.disconnect.map(Action::Disconnect));
        if wishes.drop_out {
            return actions;
        }
        let time_ns = moment.time_ns.saturating_add(wishes.clock_off);
        let messages = if wishes.garbage {
            vec![self.garbage()]
        } else {
            self.write(time_ns, &values, sequence, &wishes.not_a_number)
        };
        for message in messages {
            if let Some(depth) = wishes.reorder {
                self.held.push((depth, message));
                continue;
            }
            let copy = wishes.duplicate.then(|| Message {
                copy: true,
                ..message.clone()
            });
            actions.push(Action::Send(message));
            actions.extend(copy.map(Action::Send));
            self.release(&mut actions);
        }
        actions
    }

    /// One message went out: those that waited for it follow.
    fn release(&mut self, actions: &mut Vec<Action>) {
        for (still, _) in &mut self.held {
            *still -= 1;
        }
        actions.extend(
            self.held
                .extract_if(.., |(still, _)| *still == 0)
                .map(|(_, message)| Action::Send(message)),
        );
    }

    /// Lets the faults change the numbers, and says what else they want.
    fn suffer(&mut self, at: Duration, mut numbers: Vec<f64>) -> (Vec<Value>, Wishes) {
        let mut wishes = Wishes {
            not_a_number: vec![false; numbers.len()],
            ..Wishes::default()
        };
        let active: Vec<_> = self.troubles.iter_mut().map(|t| t.at(at)).collect();
        for (trouble, active) in self.troubles.iter().zip(&active) {
            let (Some(active), fault) = (active, trouble.fault()) else {
                continue;
            };
            let added = match fault.kind {
                FaultKind::Spike => fault.magnitude,
                FaultKind::Drift => fault.magnitude * active.progress,
                _ => 0.0,
            };
            for (index, course) in self.courses.iter().enumerate() {
                if hits(fault.metric.as_deref(), &course.signal().metric) {
                    numbers[index] += added;
                    wishes.not_a_number[index] |= fault.kind == FaultKind::NotANumber
                        && course.signal().kind == crate::scenario::Kind::Number;
                }
            }
            match fault.kind {
                FaultKind::DropOut => wishes.drop_out = true,
                FaultKind::Garbage => wishes.garbage = true,
                FaultKind::Duplicate => wishes.duplicate = true,
                FaultKind::Reorder => wishes.reorder = Some(fault.depth.max(1)),
                FaultKind::ClockJump => {
                    wishes.clock_off = wishes.clock_off.saturating_add(fault.jump);
                }
                FaultKind::Disconnect if active.begins => {
                    wishes.disconnect = Some(fault.lasts.unwrap_or_default());
                }
                FaultKind::Spike
                | FaultKind::Drift
                | FaultKind::Stuck
                | FaultKind::NotANumber
                | FaultKind::Disconnect => {}
            }
        }
        let mut values: Vec<Value> = self
            .courses
            .iter()
            .zip(numbers)
            .map(|(course, number)| course.quantise(number))
            .collect();
        for (index, (trouble, active)) in self.troubles.iter().zip(&active).enumerate() {
            let (Some(active), fault) = (active, trouble.fault()) else {
                continue;
            };
            if fault.kind != FaultKind::Stuck {
                continue;
            }
            if active.begins {
                self.stuck[index].clone_from(&values);
            }
            for ((value, stuck), course) in
                values.iter_mut().zip(&self.stuck[index]).zip(&self.courses)
            {
                if hits(fault.metric.as_deref(), &course.signal().metric) {
                    value.clone_from(stuck);
                }
            }
        }
        for (value, not_a_number) in values.iter_mut().zip(&wishes.not_a_number) {
            if *not_a_number {
                *value = Value::Float(f64::NAN);
            }
        }
        (values, wishes)
    }

    /// Bytes above 0x7f only: no digits, separators, quotes or line ends in any format, and never UTF-8 text because
    /// it begins with 0xff.
    fn garbage(&mut self) -> Message {
        let count = 1 + self.garbage.next_u32() % (MAX_GARBAGE - 1);
        let mut payload = vec![0xff];
        payload.extend((0..count).map(|_| self.garbage.next_u32().to_le_bytes()[0] | 0x80));
        Message {
            metric: self.courses.first().map(|c| c.signal().metric.clone()),
            payload: payload.into(),
            time: None,
            readings: Vec::new(),
            copy: false,
            expect: Expect::Rejected,
        }
    }

    fn write(
        &self,
        time_ns: i64,
        values: &[Value],
        sequence: Option<Value>,
        not_a_number: &[bool],
    ) -> Vec<Message> {
        let device = &self.device;
        let time_ns = device.time.cut(time_ns);
        let time = Time {
            key: &device.time_key,
            ns: time_ns,
            form: device.time,
        };
        let mut fields: Vec<Field<'_>> = self
            .courses
            .iter()
            .zip(values)
            .map(|(course, value)| Field {
                name: &course.signal().metric,
                value,
                decimals: course.signal().decimals,
            })
            .collect();
        fields.extend(sequence.as_ref().map(|value| Field {
            name: Scenario::SEQUENCE_METRIC,
            value,
            decimals: 0,
        }));
        let broken = not_a_number.contains(&true);
        let reading = |field: &Field<'_>| reading(field, broken, device.format);
        let time_of_payload = (device.time != TimeForm::None).then_some(time_ns);
        let message = |payload: String, metric: Option<&str>, readings: Vec<Reading>| Message {
            metric: metric.map(str::to_owned),
            payload: payload.into_bytes().into(),
            time: time_of_payload,
            copy: false,
            expect: whole(&readings),
            readings,
        };
        let mut payload = String::with_capacity(32 * (fields.len() + 1));
        match device.format {
            Format::Json if matches!(device.transport, Transport::Http(_)) => {
                encode::readings_json(&mut payload, &device.id, time, &fields);
            }
            Format::Json => encode::json(&mut payload, time, &fields),
            Format::Csv => encode::csv(&mut payload, device.header, time, &fields),
            Format::KeyValue => encode::key_value(&mut payload, time, &fields),
            Format::LineProtocol => encode::line_protocol(
                &mut payload,
                &device.measurement,
                &[("device", &device.id)],
                time,
                &fields,
            ),
            Format::Number => {
                return fields
                    .iter()
                    .map(|field| {
                        let mut payload = String::new();
                        encode::number(&mut payload, *field);
                        message(payload, Some(field.name), vec![reading(field)])
                    })
                    .collect();
            }
        }
        let readings = fields.iter().map(reading).collect();
        vec![message(payload, None, readings)]
    }
}

fn reading(field: &Field<'_>, broken: bool, format: Format) -> Reading {
    let nan = matches!(field.value, Value::Float(float) if float.is_nan());
    Reading {
        metric: field.name.to_owned(),
        value: (!nan).then(|| field.value.clone()),
        expect: match (nan, broken, format) {
            (true, _, _) => Expect::Rejected,
            // One bare NaN makes the whole record no JSON, and no valid line: its neighbours may go with it.
            (false, true, Format::Json | Format::LineProtocol) => Expect::Either,
            _ => Expect::Stored,
        },
    }
}

fn whole(readings: &[Reading]) -> Expect {
    let mut each = readings.iter().map(|reading| reading.expect);
    let first = each.next().unwrap_or(Expect::Rejected);
    if each.all(|expect| expect == first) {
        first
    } else {
        Expect::Either
    }
}

fn hits(wanted: Option<&str>, metric: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == metric)
}

fn add(start_ns: i64, elapsed: Duration) -> i64 {
    start_ns.saturating_add(i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if hands a reference"
)]
const fn is_stored(expect: &Expect) -> bool {
    matches!(expect, Expect::Stored)
}

impl Iterator for Plan {
    type Item = Tick;

    fn next(&mut self) -> Option<Tick> {
        if self.ended {
            return None;
        }
        let nanos = u64::try_from(self.device.interval.as_nanos()).unwrap_or(u64::MAX);
        let at = Duration::from_nanos(nanos.saturating_mul(self.index));
        if self.end.is_some_and(|end| at >= end) {
            self.ended = true;
            let held = std::mem::take(&mut self.held);
            let actions: Vec<_> = held.into_iter().map(|(_, m)| Action::Send(m)).collect();
            return (!actions.is_empty()).then_some(Tick { at, actions });
        }
        let actions = self.tick(at);
        self.index += 1;
        Some(Tick { at, actions })
    }
}

#[cfg(test)]
mod tests;
