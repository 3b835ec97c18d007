//! What a server says about points that it refuses: which, how many, and what became of the others. Pure.
//!
//! | server | answer |
//! |---|---|
//! | InfluxDB 1.x | 400 `partial write: field type conflict: … dropped=11`: the others are stored; `partial write: unable to parse 'LINE': …`: the lines that parse are stored |
//! | InfluxDB 2 OSS | 422 `…partial write: field type conflict: … dropped=11`: as above; 400 `unable to parse 'LINE': …`: nothing is stored |
//! | InfluxDB Cloud | 400 `partial write error (2 written): unable to parse 'LINE': …`: so many are stored |
//! | InfluxDB 3 | 400 `{"error":"partial write of line protocol occurred","data":[{"line_number",…}]}`: the others are stored; `data` that is one object: nothing is stored |

use serde_json::Value as JsonValue;

/// The words that are kept of an answer at most, in bytes.
const MAX_WORDS: usize = 1_000;

/// What is wrong with points of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The server's words.
    pub words: String,
    /// The lines that it names; not always all.
    pub named: Vec<Named>,
    /// The field whose type it minds, if it says one.
    pub conflict: Option<Conflict>,
    /// What became of the other lines.
    pub others: Others,
}

/// A line that the answer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which.
    pub line: Name,
    /// What is wrong with it.
    pub words: String,
}

/// How a line is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// Its number in the body, from 1.
    Number(usize),
    /// Itself.
    Text(String),
}

/// `input field "F" on measurement "M" is type KIND, already exists as …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The field.
    pub field: String,
    /// Its measurement.
    pub measurement: String,
    /// The type that was refused.
    pub kind: String,
}

/// What became of the lines that are not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nothing of the body was stored.
    NotStored,
    /// All were stored; as many as this were refused, if it is more than are named.
    AllBut(usize),
    /// So many were stored.
    Stored(usize),
    /// The answer does not say.
    Unknown,
}

impl Refusal {
    /// Reads the body of a 400 or 422. `None` when it does not speak of points: a wrong database name must not cost data.
    #[must_use]
    pub fn read(body: &str) -> Option<Self> {
        let json: JsonValue = serde_json::from_str(body).unwrap_or_default();
        let text = json["message"]
            .as_str()
            .or_else(|| json["error"].as_str())
            .unwrap_or(body);
        let lower = text.to_lowercase();
        let partial = lower.contains("partial write");
        if let Some(named) = by_number(&json["data"]) {
            let others = if partial {
                Others::AllBut(named.len())
            } else {
                Others::NotStored
            };
            let words = named.first().map_or(text, |n| &n.words);
            return Some(Self {
                words: kept(words),
                conflict: None,
                others,
                named,
            });
        }
        if !speaks_of_points(&lower) {
            return None;
        }
        let named = by_text(text);
        let others = if let Some(stored) = number_before(text, " written)") {
            Others::Stored(stored)
        } else if let (true, Some(dropped)) = (partial, number_after(text, "dropped=")) {
            Others::AllBut(dropped)
        } else if !partial && !named.is_empty() {
            Others::NotStored
        } else {
            Others::Unknown
        };
        Some(Self {
            words: kept(text),
            conflict: conflict(text),
            named,
            others,
        })
    }

    /// How many of `sent` lines were refused, if the answer says so.
    #[must_use]
    pub fn bad_of(&self, sent: usize) -> Option<usize> {
        let bad = match self.others {
            Others::AllBut(bad) => bad.max(self.named.len()),
            Others::Stored(stored) => sent.saturating_sub(stored),
            Others::NotStored | Others::Unknown => return None,
        };
        // It was refused: that none is bad can't be meant.
        (1..=sent).contains(&bad).then_some(bad)
    }
}

/// Whether the words are about the type of a field: then other fields of the point may be good.
#[must_use]
pub fn is_about_a_type(words: &str) -> bool {
    words.contains("field type") || words.contains("column type")
}

fn speaks_of_points(lower: &str) -> bool {
    [
        "partial write",
        "unable to parse",
        "parsing",
        "field type",
        "points beyond",
        "outside",
        "line protocol",
        "invalid field",
        "timestamp",
    ]
    .iter()
    .any(|words| lower.contains(words))
}

fn kept(words: &str) -> String {
    words[..words.floor_char_boundary(MAX_WORDS)].to_owned()
}

/// InfluxDB 3: `data` is an object, or an array of them.
fn by_number(data: &JsonValue) -> Option<Vec<Named>> {
    let one = std::slice::from_ref(data);
    let all = data.as_array().map_or(one, Vec::as_slice);
    let named = |line: &JsonValue| {
        let number = usize::try_from(line["line_number"].as_u64()?).ok()?;
        Some(Named {
            line: Name::Number(number),
            words: kept(line["error_message"].as_str().unwrap_or_default()),
        })
    };
    let all: Option<Vec<Named>> = all.iter().map(named).collect();
    all.filter(|all| !all.is_empty())
}

/// `unable to parse 'LINE': WORDS`, for each line that begins so.
fn by_text(text: &str) -> Vec<Named> {
    const BEGINS: &str = "unable to parse '";
    let starts = text.match_indices(BEGINS).map(|(at, _)| at + BEGINS.len());
    starts
        .filter_map(|start| {
            let (line, words) = text[start..].split_once("': ")?;
            let words = words.split_once('\n').map_or(words, |(first, _)| first);
            Some(Named {
                line: Name::Text(line.to_owned()),
                words: kept(words),
            })
        })
        .collect()
}

fn conflict(text: &str) -> Option<Conflict> {
    let (_, rest) = text.split_once("input field \"")?;
    let (field, rest) = rest.split_once("\" on measurement \"")?;
    let (measurement, rest) = rest.split_once("\" is type ")?;
    let (kind, _) = rest.split_once(',')?;
    Some(Conflict {
        field: field.to_owned(),
        measurement: measurement.to_owned(),
        kind: kind.to_owned(),
    })
}

fn number_after(text: &str, mark: &str) -> Option<usize> {
    let (_, rest) = text.rsplit_once(mark)?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn number_before(text: &str, mark: &str) -> Option<usize> {
    let (head, _) = text.split_once(mark)?;
    let start = head
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |at| at + 1);
    head[start..].parse().ok()
}
