//! Points of one series as bytes: about two bytes a point for decimal readings at a steady rate. Pure.
//!
//! Sensor values are decimal (21.53), and their binary forms differ wildly from one to the next; scaled by a power of ten
//! they are small whole steps. So floats are stored as whole numbers where that gives back the very same bits.
//!
//! ```text
//! chunk     version u8 = 1 · count varint · times · qualities · kinds · columns
//! times     scale u8 (0, 3, 6, 9: all are divided by 10^scale) · first signed · first step signed ·
//!           change of step signed *
//! runs      number of runs varint · (what u8 · how many varint)*
//! qualities runs (0 good, 1 uncertain, 2 bad); no runs at all: all good
//! kinds     runs (0 boolean, 1 integer, 2 float, 3 text)
//! columns   of each kind that occurs, in that order, only its own points:
//!   boolean   bits, lowest first
//!   integer   first signed · step signed *
//!   float     places u8 (0 to 6: value times 10^places as integers; 255: IEEE 754, 8 bytes each)
//!   text      number of texts varint · (length varint · UTF-8)* · index varint *
//! ```
//!
//! Varints are those of the journal. Decoding any bytes at all ends without panic, and without allocating more than the bytes
//! can stand for.

use crate::{
    journal::varint::{Bytes, put, put_signed, put_text},
    model::{Quality, Timestamp, Value},
    store::Point,
};

const VERSION: u8 = 1;
const MAX_PLACES: u8 = 6;
const RAW: u8 = 255;
const TENS: [f64; MAX_PLACES as usize + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// Beyond this a float no longer holds every whole number.
const EXACT: f64 = 9_007_199_254_740_992.0;

const BOOL: u8 = 0;
const INT: u8 = 1;
const FLOAT: u8 = 2;
const TEXT: u8 = 3;

/// The bytes of these points, in this order.
pub(super) fn encode(points: &[Point]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + points.len() * 3);
    out.push(VERSION);
    put(&mut out, points.len() as u64);
    put_times(&mut out, points);
    if points.iter().all(|p| p.quality == Quality::Good) {
        put(&mut out, 0);
    } else {
        put_runs(&mut out, points.iter().map(|p| quality_code(p.quality)));
    }
    put_runs(&mut out, points.iter().map(|p| kind(&p.value)));

    let mut columns = Columns::default();
    for point in points {
        match &point.value {
            Value::Bool(b) => columns.bools.push(*b),
            Value::Int(i) => columns.ints.push(*i),
            Value::Float(f) => columns.floats.push(*f),
            Value::Text(text) => columns.texts.push(text),
        }
    }
    for eight in columns.bools.chunks(8) {
        let bits = eight.iter().enumerate();
        out.push(bits.fold(0, |byte, (i, &b)| byte | (u8::from(b) << i)));
    }
    put_steps(&mut out, columns.ints.iter().copied());
    if !columns.floats.is_empty() {
        put_floats(&mut out, &columns.floats);
    }
    if !columns.texts.is_empty() {
        put_texts(&mut out, &columns.texts);
    }
    out
}

/// The points of a chunk; `None` for bytes that are none.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Point>> {
    let mut bytes = Bytes(bytes);
    if bytes.byte()? != VERSION {
        return None;
    }
    // Every point has at least one byte of time.
    let count = bytes.count(bytes.len())?;
    let times = times(&mut bytes, count)?;
    let mut qualities = runs(&mut bytes, count)?;
    if qualities.is_empty() {
        qualities.resize(count, 0);
    }
    let kinds = runs(&mut bytes, count)?;
    if kinds.len() != count || qualities.len() != count {
        return None;
    }
    let of_kind = |kind| kinds.iter().filter(|k| **k == kind).count();
    let mut bools = bools(&mut bytes, of_kind(BOOL))?.into_iter();
    let mut ints = steps(&mut bytes, of_kind(INT))?.into_iter();
    let mut floats = floats(&mut bytes, of_kind(FLOAT))?.into_iter();
    let mut texts = texts(&mut bytes, of_kind(TEXT))?.into_iter();
    let mut points = Vec::with_capacity(count);
    for ((time, quality), kind) in times.into_iter().zip(qualities).zip(&kinds) {
        let value = match *kind {
            BOOL => Value::Bool(bools.next()?),
            INT => Value::Int(ints.next()?),
            FLOAT => Value::Float(floats.next()?),
            TEXT => texts.next()?,
            _ => return None,
        };
        let quality = match quality {
            0 => Quality::Good,
            1 => Quality::Uncertain,
            2 => Quality::Bad,
            _ => return None,
        };
        points.push(Point {
            time,
            value,
            quality,
        });
    }
    bytes.is_empty().then_some(points)
}

#[derive(Default)]
struct Columns<'a> {
    bools: Vec<bool>,
    ints: Vec<i64>,
    floats: Vec<f64>,
    texts: Vec<&'a smol_str::SmolStr>,
}

const fn quality_code(quality: Quality) -> u8 {
    match quality {
        Quality::Good => 0,
        Quality::Uncertain => 1,
        Quality::Bad => 2,
    }
}

const fn kind(value: &Value) -> u8 {
    match value {
        Value::Bool(_) => BOOL,
        Value::Int(_) => INT,
        Value::Float(_) => FLOAT,
        Value::Text(_) => TEXT,
    }
}

fn put_times(out: &mut Vec<u8>, points: &[Point]) {
    let scale = [9_u8, 6, 3]
        .into_iter()
        .find(|scale| {
            let unit = 10_i64.pow(u32::from(*scale));
            points.iter().all(|p| p.time.0 % unit == 0)
        })
        .unwrap_or(0);
    out.push(scale);
    let unit = 10_i64.pow(u32::from(scale));
    let (mut before, mut step) = (0_i64, 0_i64);
    for (i, point) in points.iter().enumerate() {
        let time = point.time.0 / unit;
        let this = time.wrapping_sub(before);
        put_signed(out, this.wrapping_sub(step));
        before = time;
        // The first is an absolute time: no step to expect again.
        step = if i == 0 { 0 } else { this };
    }
}

fn times(bytes: &mut Bytes<'_>, count: usize) -> Option<Vec<Timestamp>> {
    let scale = bytes.byte().filter(|s| *s <= 9)?;
    let unit = 10_i64.pow(u32::from(scale));
    let (mut before, mut step) = (0_i64, 0_i64);
    (0..count)
        .map(|i| {
            let this = bytes.signed()?.wrapping_add(step);
            before = before.wrapping_add(this);
            step = if i == 0 { 0 } else { this };
            before.checked_mul(unit).map(Timestamp)
        })
        .collect()
}

fn put_runs(out: &mut Vec<u8>, codes: impl Iterator<Item = u8>) {
    let mut found: Vec<(u8, u64)> = Vec::new();
    for code in codes {
        match found.last_mut() {
            Some((last, n)) if *last == code => *n += 1,
            _ => found.push((code, 1)),
        }
    }
    put(out, found.len() as u64);
    for (code, n) in found {
        out.push(code);
        put(out, n);
    }
}

fn runs(bytes: &mut Bytes<'_>, count: usize) -> Option<Vec<u8>> {
    let mut codes = Vec::with_capacity(count);
    for _ in 0..bytes.count(count)? {
        let code = bytes.byte()?;
        let n = bytes.count(count - codes.len())?;
        codes.resize(codes.len() + n, code);
    }
    Some(codes)
}

fn bools(bytes: &mut Bytes<'_>, count: usize) -> Option<Vec<bool>> {
    let bits = bytes.take(count.div_ceil(8))?;
    Some(
        (0..count)
            .map(|i| bits[i / 8] & (1 << (i % 8)) != 0)
            .collect(),
    )
}

fn put_steps(out: &mut Vec<u8>, values: impl Iterator<Item = i64>) {
    let mut before = 0_i64;
    for value in values {
        put_signed(out, value.wrapping_sub(before));
        before = value;
    }
}

fn steps(bytes: &mut Bytes<'_>, count: usize) -> Option<Vec<i64>> {
    let mut before = 0_i64;
    (0..count)
        .map(|_| {
            before = before.wrapping_add(bytes.signed()?);
            Some(before)
        })
        .collect()
}

fn put_floats(out: &mut Vec<u8>, floats: &[f64]) {
    for places in 0..=MAX_PLACES {
        if let Some(whole) = floats
            .iter()
            .map(|f| scaled(*f, places))
            .collect::<Option<Vec<i64>>>()
        {
            out.push(places);
            put_steps(out, whole.into_iter());
            return;
        }
    }
    out.push(RAW);
    for float in floats {
        out.extend_from_slice(&float.to_le_bytes());
    }
}

/// `float` times 10^`places`, if that is a whole number from which the same bits come back.
fn scaled(float: f64, places: u8) -> Option<i64> {
    let tens = TENS[usize::from(places)];
    let whole = (float * tens).round();
    // The division is correctly rounded, so it yields the float nearest to the decimal. Negative zero fails by its bits.
    (whole.abs() < EXACT && (whole as i64 as f64 / tens).to_bits() == float.to_bits())
        .then_some(whole as i64)
}

fn floats(bytes: &mut Bytes<'_>, count: usize) -> Option<Vec<f64>> {
    if count == 0 {
        return Some(Vec::new());
    }
    match bytes.byte()? {
        RAW => (0..count)
            .map(|_| {
                let float = f64::from_le_bytes(bytes.array()?);
                float.is_finite().then_some(float)
            })
            .collect(),
        places => {
            let tens = TENS.get(usize::from(places))?;
            let whole = steps(bytes, count)?;
            Some(whole.into_iter().map(|i| i as f64 / tens).collect())
        }
    }
}

fn put_texts(out: &mut Vec<u8>, texts: &[&smol_str::SmolStr]) {
    let mut known: Vec<&smol_str::SmolStr> = texts.to_vec();
    known.sort_unstable();
    known.dedup();
    put(out, known.len() as u64);
    for text in &known {
        put_text(out, text);
    }
    for text in texts {
        // Every text is among the known ones.
        let index = known.binary_search(text).unwrap_or_default();
        put(out, index as u64);
    }
}

fn texts(bytes: &mut Bytes<'_>, count: usize) -> Option<Vec<Value>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let known = (0..bytes.count(count)?)
        .map(|_| bytes.text().map(smol_str::SmolStr::from))
        .collect::<Option<Vec<_>>>()?;
    (0..count)
        .map(|_| {
            let index = usize::try_from(bytes.varint()?).ok()?;
            known.get(index).cloned().map(Value::Text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn any_point() -> impl Strategy<Value = Point> {
        let value = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-100_000_i64..100_000, 0_i32..8)
                .prop_map(|(n, places)| Value::Float(n as f64 / 10_f64.powi(places))),
            any::<f64>()
                .prop_filter("finite", |f| f.is_finite())
                .prop_map(Value::Float),
            prop_oneof![
                Just(-0.0),
                Just(5e-324),
                Just(f64::MAX),
                Just(f64::MIN_POSITIVE),
                Just(9_007_199_254_740_993.0)
            ]
            .prop_map(Value::Float),
            prop_oneof![Just("open".to_owned()), ".{0,20}"].prop_map(|s| Value::Text(s.into())),
        ];
        let quality = prop_oneof![
            4 => Just(Quality::Good),
            1 => Just(Quality::Uncertain),
            1 => Just(Quality::Bad),
        ];
        let time = prop_oneof![
            any::<i64>(),
            (0..2_000_000_i64).prop_map(|ms| ms * 1_000_000)
        ];
        (time, value, quality).prop_map(|(time, value, quality)| Point {
            time: Timestamp(time),
            value,
            quality,
        })
    }

    fn same_bits(a: &[Point], b: &[Point]) -> bool {
        a == b
            && a.iter()
                .zip(b)
                .all(|pair| match (&pair.0.value, &pair.1.value) {
                    (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
                    _ => true,
                })
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back_to_the_bit(points in vec(any_point(), 0..60)) {
            let back = decode(&encode(&points)).expect("decodes");
            prop_assert!(same_bits(&points, &back), "{points:?} {back:?}");
        }

        #[test]
        fn floats_alone_come_back_to_the_bit(
            floats in vec(any::<f64>().prop_filter("finite", |f| f.is_finite()), 1..20)
        ) {
            let points: Vec<_> = floats.iter().map(|f| float(0, *f)).collect();
            prop_assert!(same_bits(&points, &decode(&encode(&points)).expect("decodes")));
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(mut bytes in vec(any::<u8>(), 0..300)) {
            let _points_or_not = decode(&bytes);
            bytes.insert(0, VERSION);
            let _points_or_not = decode(&bytes);
        }

        #[test]
        fn a_changed_byte_is_decoded_without_panic(
            points in vec(any_point(), 1..30), at: prop::sample::Index, to: u8,
        ) {
            let mut bytes = encode(&points);
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _points_or_not = decode(&bytes);
        }
    }

    fn float(millis: i64, value: f64) -> Point {
        Point {
            time: Timestamp::from_millis(millis),
            value: Value::Float(value),
            quality: Quality::Good,
        }
    }

    #[test]
    fn decimal_readings_take_about_two_bytes_a_point() {
        let points: Vec<_> = (0..360_i64)
            .map(|i| {
                let jitter = (i * 7919) % 41 - 20;
                float(
                    1_780_000_000_000 + i * 10_000 + jitter,
                    (2150 + (i * 31) % 60) as f64 / 100.0,
                )
            })
            .collect();
        let per_point = encode(&points).len() as f64 / 360.0;
        assert!(per_point < 3.1, "{per_point}");
        let steady: Vec<_> = (0..360_i64)
            .map(|i| {
                float(
                    1_780_000_000_000 + i * 10_000,
                    (2150 + i % 60) as f64 / 100.0,
                )
            })
            .collect();
        let per_point = encode(&steady).len() as f64 / 360.0;
        assert!(per_point < 2.2, "{per_point}");
    }
}
