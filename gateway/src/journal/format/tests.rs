use proptest::{collection::vec, prelude::*};

use super::*;

pub(in crate::journal) fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Value::Float),
        ".{0,40}".prop_map(|s| Value::Text(s.into())),
    ]
}

prop_compose! {
    fn any_reading()(
        device in prop_oneof![Just("boiler".to_owned()), ".{0,30}"],
        metric in prop_oneof![Just("temperature".to_owned()), "[a-z]{0,30}"],
        unit in proptest::option::of("[A-Za-z%]{1,4}"),
        value in any_value(),
        quality in prop_oneof![
            Just(Quality::Good), Just(Quality::Uncertain), Just(Quality::Bad)
        ],
        time: i64,
        late in prop_oneof![Just(0_i64), any::<i64>()],
        retained: bool,
    ) -> Reading {
        Reading {
            series: SeriesKey { device: DeviceId(device.into()), metric: Metric(metric.into()) },
            value,
            unit: unit.map(|u| Unit(u.into())),
            quality,
            time: Timestamp(time),
            received: Timestamp(time.wrapping_add(late)),
            retained,
        }
    }
}

fn any_stamps() -> impl Strategy<Value = Stamps> {
    prop_oneof![
        4 => Just(Stamps::Set),
        1 => any::<i64>().prop_map(Stamps::Jumped),
        1 => any::<u128>().prop_map(|boot| Stamps::SinceBoot(Boot(boot))),
        1 => any::<(u64, u128, i64)>().prop_map(|(from, boot, at)| Stamps::Restamped {
            from,
            boot: Boot(boot),
            booted_at: Timestamp(at),
        }),
    ]
}

/// Of any clock.
pub(in crate::journal) fn any_stamped_batch() -> impl Strategy<Value = Batch> {
    (any_batch(), any_stamps()).prop_map(|(batch, stamps)| Batch { stamps, ..batch })
}

/// A footer as older gateways wrote it.
pub(in crate::journal) fn old_footer(footer: &Footer) -> [u8; OLD_FOOTER] {
    let mut out = [0; OLD_FOOTER];
    out[..4].copy_from_slice(&closing::OLD_FOOTER_MAGIC);
    out[4..12].copy_from_slice(&footer.records.to_le_bytes());
    out[12..20].copy_from_slice(&footer.readings.to_le_bytes());
    out[20..28].copy_from_slice(&footer.last.to_le_bytes());
    out[28..32].copy_from_slice(&footer.end.to_le_bytes());
    let crc = crc32fast::hash(&out[..32]);
    out[32..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Of a clock that was set.
pub(in crate::journal) fn any_batch() -> impl Strategy<Value = Batch> {
    ("[a-z]{1,12}", vec(any_reading(), 1..8)).prop_map(|(source, readings)| Batch {
        source: SourceName(source.into()),
        readings,
        ..Batch::default()
    })
}

fn encode(batches: &[Batch], position: u64) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.begin();
    for batch in batches {
        encoder.push(batch);
    }
    encoder.finish(position).to_vec()
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back(batches in vec(any_stamped_batch(), 0..6), position: u64) {
        let record = encode(&batches, position);
        let header = Header::read(&record).expect("a header");
        let body = &record[RECORD_HEADER..];
        prop_assert_eq!(header.position, position);
        prop_assert_eq!(header.total(), record.len() as u64);
        prop_assert_eq!(header.crc, crc32fast::hash(body));
        prop_assert_eq!(
            header.readings as usize,
            batches.iter().map(|b| b.readings.len()).sum::<usize>()
        );
        prop_assert_eq!(decode(body), Ok(batches));
    }

    #[test]
    fn any_bytes_are_decoded_without_panic(mut bytes in vec(any::<u8>(), 0..400)) {
        let _header_or_not = Header::read(&bytes);
        let _footer_or_not = Footer::read(&bytes);
        let _batches_or_not = decode(&bytes);
        bytes.insert(0, BODY_VERSION);
        let _batches_or_not = decode(&bytes);
    }

    #[test]
    fn a_changed_byte_in_a_valid_body_is_decoded_without_panic(
        batches in vec(any_batch(), 1..4), at: prop::sample::Index, to: u8,
    ) {
        let mut record = encode(&batches, 1);
        let at = RECORD_HEADER + at.index(record.len() - RECORD_HEADER);
        record[at] = to;
        let _batches_or_not = decode(&record[RECORD_HEADER..]);
    }

    #[test]
    fn a_damaged_header_is_not_taken_for_one(
        batches in vec(any_batch(), 1..2), at in 0..RECORD_HEADER, flip in 1..=255_u8,
    ) {
        let mut record = encode(&batches, 7);
        record[at] ^= flip;
        prop_assert_eq!(Header::read(&record), None);
    }

    #[test]
    fn footers_come_back(records: u64, readings: u64, last: u64, end: u32, summary: (u32, u32)) {
        let offset = end.saturating_add(summary.0);
        let footer = Footer { records, readings, last, offset, end, summary: summary.1 };
        prop_assert_eq!(Footer::read(&footer.write()), Some(footer));
    }

    #[test]
    fn a_summary_comes_back_and_a_damaged_one_is_none(
        batches in vec(any_batch(), 0..4), at: prop::sample::Index, flip in 1..=255_u8,
    ) {
        let mut summary = Summary::default();
        summary.add(&batches);
        let mut bytes = summary.write();
        prop_assert!(bytes.len() <= summary.length());
        let crc = crc32fast::hash(&bytes);
        prop_assert_eq!(Summary::read(&bytes, crc), Some(summary));
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert_eq!(Summary::read(&bytes, crc), None);
        // Nor does one that only claims to be whole do harm.
        let _summary_or_not = Summary::read(&bytes, crc32fast::hash(&bytes));
    }
}

#[test]
fn a_newer_body_is_named_as_such() {
    assert_eq!(decode(&[9, 1, 2]), Err(Unreadable::Version(9)));
}

#[test]
fn the_dictionary_makes_repeated_names_cheap() {
    let reading = Reading {
        series: SeriesKey {
            device: DeviceId("a-device-with-a-long-name-in-hall-3".into()),
            metric: Metric("temperature".into()),
        },
        value: Value::Float(21.5),
        unit: Some(Unit("Cel".into())),
        quality: Quality::Good,
        time: Timestamp(1_780_000_000_000_000_000),
        received: Timestamp(1_780_000_000_001_000_000),
        retained: false,
    };
    let batch = |n| Batch {
        source: SourceName("plant".into()),
        peer: None,
        readings: vec![reading.clone(); n],
        ..Batch::default()
    };
    let (one, many) = (encode(&[batch(1)], 1).len(), encode(&[batch(101)], 1).len());
    assert!((many - one) / 100 <= 16, "{one} bytes, then {many}");
}
