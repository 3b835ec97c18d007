use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use reqwest::StatusCode;

use super::*;
use crate::{
    archive::{
        influx::{Answer, judge},
        line::Origin,
        refusal::is_about_a_type,
    },
    model::{DeviceId, SourceName},
};

fn batch<'a>(texts: impl IntoIterator<Item = &'a str>) -> Lines {
    let mut lines = Lines::default();
    for text in texts {
        lines.push(
            text,
            Origin {
                source: SourceName("plant".into()),
                device: DeviceId("d".into()),
                letter: None,
            },
        );
    }
    lines
}

fn all(lines: &Lines) -> Item {
    Item::Send((0..lines.len()).collect())
}

/// The documented answers, by id; none if the data is not here.
fn vectors() -> Option<BTreeMap<String, (StatusCode, String)>> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/data/influx/write_responses.jsonl"
    );
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: {path} is not there");
        return None;
    };
    let vectors = text.lines().map(|line| {
        let vector: serde_json::Value = serde_json::from_str(line).unwrap();
        let status = u16::try_from(vector["status"].as_u64().unwrap()).unwrap();
        let body = vector["body"].as_str().unwrap_or_default().to_owned();
        let id = vector["id"].as_str().unwrap().to_owned();
        (id, (StatusCode::from_u16(status).unwrap(), body))
    });
    Some(vectors.collect())
}

/// What the archiver does with `lines` when the vector is the answer to them.
fn outcome(vector: &(StatusCode, String), lines: &Lines) -> Settled {
    let Answer::Final(verdict) = judge(vector.0, None, &vector.1) else {
        panic!("not final: {vector:?}");
    };
    settle(all(lines), verdict, lines)
}

fn refused(settled: &Settled) -> Vec<usize> {
    settled.refused.iter().map(|(line, _)| *line).collect()
}

#[test]
fn every_documented_answer_has_its_consequence() {
    let Some(vectors) = vectors() else { return };
    let three = batch(["m v=1 1", "m v=2 2", "m v=3 3"]);
    for (id, vector) in &vectors {
        match id.as_str() {
            "v2-204" => {
                // `Influx::write` does not look at the body of a success.
                assert!(vector.0.is_success());
                let settled = settle(all(&three), Verdict::Stored, &three);
                assert_eq!(settled.stored, [0, 1, 2]);
                assert_eq!((settled.refused, settled.next), (vec![], vec![]));
            }
            "v2cloud-400-partial-schema" => {
                let lines = batch([
                    "air_sensor,service=S1,sensor=L1 temperature=90.5 1632850121",
                    "air_sensor,service=S1,sensor=L1 temperature=\"90.5\",humidity=70.0 1632850122",
                    "air_sensor,service=S1,sensor=L1 temperature=90.5 1632850123",
                ]);
                let settled = outcome(vector, &lines);
                assert_eq!((refused(&settled), settled.next), (vec![1], vec![]));
                assert_eq!(settled.stored, [0, 2]);
                let words = &settled.refused[0].1;
                assert!(words.starts_with("schema: field type for field \"temperature\""));
                assert!(is_about_a_type(words));
            }
            "v2-413-json" => {
                let settled = outcome(vector, &three);
                assert_eq!(settled.next, [Item::Send(vec![0]), Item::Send(vec![1, 2])]);
                let one = batch(["m v=1 1"]);
                assert_eq!(refused(&outcome(vector, &one)), [0]);
            }
            "v2oss-422-partial" => {
                let m = "navigation.course.calcValues.velocityMadeGood,device=d";
                let texts: Vec<String> = (0..20)
                    .map(|i| match i {
                        0..11 => format!("{m} value=\"fast\" {i}"),
                        11..15 => format!("{m} value=4.5 {i}"),
                        15..18 => format!("{m} other=\"fast\" {i}"),
                        _ => format!("elsewhere value=\"fast\" {i}"),
                    })
                    .collect();
                let lines = batch(texts.iter().map(String::as_str));
                let settled = outcome(vector, &lines);
                assert_eq!(refused(&settled), (0..11).collect::<Vec<_>>());
                assert_eq!(settled.stored, (11..20).collect::<Vec<_>>());
                assert_eq!(settled.next, []);
                // All bad: none is sent again. Not to be told apart: halves tell.
                let bad = batch(texts[..11].iter().map(String::as_str));
                assert_eq!(refused(&outcome(vector, &bad)).len(), 11);
                let alike = batch(std::iter::repeat_n("m v=1 1", 20));
                let settled = outcome(vector, &alike);
                assert_eq!(refused(&settled).len() + settled.stored.len(), 0);
                assert!(matches!(&settled.next[..], [Item::Probe { bad: 11, .. }]));
            }
            "v2-429" => {
                let after = Some(Duration::from_secs(7));
                let answer = judge(vector.0, after, &vector.1);
                assert!(matches!(answer, Answer::Later { after: Some(a), .. } if a.as_secs() == 7));
            }
            "v3-400-parse" => {
                let lines = batch([
                    "cpu,host=a val= 123",
                    "cpu,host=b val=5 124",
                    "cpu,host=b val= 124",
                ]);
                let settled = outcome(vector, &lines);
                assert_eq!(
                    settled.refused,
                    [(0, String::from("No fields were provided"))]
                );
                // Nothing was stored: what is not named is sent again.
                assert_eq!(settled.stored, Vec::<usize>::new());
                assert_eq!(settled.next, [Item::Send(vec![1, 2])]);
            }
            "v3-400-dbname" => {
                let answer = judge(vector.0, None, &vector.1);
                assert!(matches!(answer, Answer::Misconfigured(_)), "{answer:?}");
            }
            _ => panic!("a new vector: {id}"),
        }
    }
}

#[test]
fn the_lines_that_influxdb_3_numbers_are_refused_and_the_others_are_stored() {
    let body = r#"{"error":"partial write of line protocol occurred","data":[
        {"original_line":"m v=x 2","line_number":2,"error_message":"invalid column type for column 'v'"},
        {"original_line":"m v=x 4","line_number":4,"error_message":"no"}]}"#;
    let lines = batch(["m v=1 1", "m v=\"x\" 2", "m v=3 3", "m v=\"x\" 4"]);
    let settled = outcome(&(StatusCode::BAD_REQUEST, body.to_owned()), &lines);
    assert_eq!(refused(&settled), [1, 3]);
    assert_eq!((settled.stored, settled.next), (vec![0, 2], vec![]));
}

#[test]
fn the_lines_that_influxdb_1_cannot_parse_are_refused_and_the_others_are_stored() {
    let body = "{\"error\":\"partial write: unable to parse 'm v= 2': missing field value\\nunable to parse 'm  4': missing fields dropped=0\"}";
    let lines = batch(["m v=1 1", "m v= 2", "m v=3 3", "m  4"]);
    let settled = outcome(&(StatusCode::BAD_REQUEST, body.to_owned()), &lines);
    assert_eq!(refused(&settled), [1, 3]);
    assert_eq!((settled.stored, settled.next), (vec![0, 2], vec![]));
    assert_eq!(settled.refused[0].1, "missing field value");
}

#[test]
fn an_answer_that_names_lines_which_were_not_sent_is_not_believed() {
    let body = r#"{"error":"partial write of line protocol occurred","data":[{"line_number":9,"error_message":"no"}]}"#;
    let lines = batch(["m v=1 1", "m v=2 2"]);
    let settled = outcome(&(StatusCode::BAD_REQUEST, body.to_owned()), &lines);
    assert_eq!(settled.refused, []);
    assert!(matches!(&settled.next[..], [Item::Probe { bad: 1, .. }]));
}

/// How a server tells of bad lines.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// `dropped=N` with field and type in the words.
    Oss2,
    /// `dropped=N` alone.
    Count,
    /// `(N written)`, with the first bad line.
    Cloud,
    /// Numbered; the others are stored.
    V3,
    /// Numbered, the first alone; nothing is stored.
    V3Atomic,
    /// All lines that don't parse; nothing is stored.
    Oss2Parse,
    /// Nothing that helps; the good are stored.
    Mute,
}

/// Answers as such a server would, and what it stores.
fn serve(
    manner: Manner,
    sent: &[usize],
    bad: &BTreeSet<usize>,
    lines: &Lines,
) -> (String, Vec<usize>) {
    let (wrong, right): (Vec<usize>, Vec<usize>) = sent.iter().partition(|l| bad.contains(l));
    let text = |line: usize| {
        String::from_utf8_lossy(lines.line(line))
            .trim_end()
            .to_owned()
    };
    let number = |line: &usize| sent.iter().position(|l| l == line).unwrap() + 1;
    let (first, count) = (wrong[0], wrong.len());
    match manner {
        Manner::Oss2 => (
            format!("{{\"message\":\"partial write: field type conflict: input field \\\"v\\\" on measurement \\\"m\\\" is type string, already exists as type float dropped={count}\"}}"),
            right,
        ),
        Manner::Count => (format!("partial write: points beyond retention policy dropped={count}"), right),
        Manner::Cloud => (
            serde_json::json!({"message": format!("partial write error ({} written): unable to parse '{}': schema", right.len(), text(first))}).to_string(),
            right,
        ),
        Manner::V3 => {
            let data: Vec<_> = wrong
                .iter()
                .map(|l| serde_json::json!({"line_number": number(l), "error_message": "no"}))
                .collect();
            (serde_json::json!({"error": "partial write of line protocol occurred", "data": data}).to_string(), right)
        }
        Manner::V3Atomic => (
            serde_json::json!({"error": "line protocol parsing error", "data": {"line_number": number(&first), "error_message": "no"}}).to_string(),
            vec![],
        ),
        Manner::Oss2Parse => {
            let all: Vec<String> = wrong.iter().map(|l| format!("unable to parse '{}': no", text(*l))).collect();
            (serde_json::json!({"message": all.join("\n")}).to_string(), vec![])
        }
        Manner::Mute => (String::from("field type conflict"), right),
    }
}

proptest! {
    /// Whatever the server says: every good line is stored, every bad one is refused, each is accounted for once; and where the
    /// answer tells which lines are bad, no line is stored twice.
    #[test]
    fn exactly_the_bad_lines_are_refused(
        count in 1..40_usize,
        bad in prop::collection::btree_set(0..40_usize, 0..40),
        manner in prop::sample::select(vec![
            Manner::Oss2, Manner::Count, Manner::Cloud, Manner::V3, Manner::V3Atomic, Manner::Oss2Parse, Manner::Mute,
        ]),
    ) {
        let bad: BTreeSet<usize> = bad.into_iter().filter(|l| *l < count).collect();
        let texts: Vec<String> = (0..count)
            .map(|i| if bad.contains(&i) { format!("m v=\"x\" {i}") } else { format!("m v=1 {i}") })
            .collect();
        let lines = batch(texts.iter().map(String::as_str));
        let mut stack = vec![all(&lines)];
        let (mut stored, mut refused) = (Vec::new(), Vec::new());
        let mut written = vec![0; count];
        let mut requests = 0;
        while let Some(item) = stack.pop() {
            requests += 1;
            prop_assert!(requests <= 4 * count + 4, "it does not end");
            let sent = item.lines().to_vec();
            let verdict = if sent.iter().any(|l| bad.contains(l)) {
                let (body, kept) = serve(manner, &sent, &bad, &lines);
                kept.into_iter().for_each(|l| written[l] += 1);
                match judge(StatusCode::BAD_REQUEST, None, &body) {
                    Answer::Final(verdict) => verdict,
                    other => panic!("{other:?}"),
                }
            } else {
                sent.iter().for_each(|l| written[*l] += 1);
                Verdict::Stored
            };
            let settled = settle(item, verdict, &lines);
            stored.extend(settled.stored);
            refused.extend(settled.refused.into_iter().map(|(l, _)| l));
            stack.extend(settled.next.into_iter().rev());
        }
        stored.sort_unstable();
        refused.sort_unstable();
        prop_assert_eq!(refused, bad.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(stored, (0..count).filter(|l| !bad.contains(l)).collect::<Vec<_>>());
        for (line, times) in written.into_iter().enumerate() {
            if bad.contains(&line) {
                prop_assert_eq!(times, 0);
                continue;
            }
            prop_assert!(times >= 1);
            let once = match manner {
                Manner::Oss2 | Manner::V3 | Manner::V3Atomic | Manner::Oss2Parse => true,
                Manner::Cloud => bad.len() <= 1,
                Manner::Count | Manner::Mute => bad.is_empty(),
            };
            prop_assert!(!once || times == 1, "line {line} was written {times} times");
        }
    }

    #[test]
    fn no_answer_makes_it_panic_or_lose_a_line(body in ".{0,200}", count in 1..9_usize) {
        let lines = batch(std::iter::repeat_n("m v=1 1", count));
        if let Answer::Final(verdict) = judge(StatusCode::BAD_REQUEST, None, &body) {
            let settled = settle(all(&lines), verdict, &lines);
            let waiting: usize = settled.next.iter().map(|item| match item {
                Item::Send(lines) => lines.len(),
                Item::Probe { lines, others, .. } => lines.len() + others.len(),
            }).sum();
            prop_assert_eq!(settled.stored.len() + settled.refused.len() + waiting, count);
        }
    }
}
