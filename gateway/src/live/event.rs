//! Events as ready SSE frames: a reading is encoded once, however many clients with however many filters hear of it.
//!
//! A frame with several series remembers where in it each one stands, so that a filtered frame is copied out of it
//! and never encoded again.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::{
    filter::{Filter, Kind},
    frame::{Frame, Id},
    labels::{Labels, Tags},
    latest,
    place::News,
};
use crate::{
    alert::{Alert, silence::Attended},
    model::{DeviceId, SeriesKey},
    store::{Device, Point, SeriesInfo, Window, WindowSpec},
};

/// One event, encoded in full.
#[derive(Debug)]
pub(crate) struct Event {
    /// Its place in the stream, from 1.
    pub(crate) sequence: u64,
    /// When it was said, epoch milliseconds.
    pub(crate) at_ms: i64,
    pub(crate) kind: Kind,
    /// What it brings of what is durable.
    pub(crate) news: News,
    pub(crate) about: About,
    /// The frame with all that is in it.
    pub(crate) frame: Bytes,
}

/// Whom an event concerns.
#[derive(Debug)]
pub(crate) enum About {
    Everyone,
    Series(SeriesKey),
    /// A change of an alert, kept to be told anew with what people did since.
    Alert {
        series: SeriesKey,
        alert: Box<Alert>,
    },
    Several(Several),
}

/// Several series, each at its place in the frame, parted by commas.
#[derive(Debug, Default)]
pub(crate) struct Several {
    /// The device that the event is about even without any of the series.
    pub(crate) device: Option<DeviceId>,
    /// The labels that it had before: who wanted it for them must hear that it has others.
    pub(crate) before: Option<Arc<Tags>>,
    pub(crate) columns: Vec<Column>,
    /// Where the first series begins.
    pub(crate) start: u32,
    /// Where the last one ends.
    pub(crate) end: u32,
}

/// One series within a frame.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// The number of the series in the hub; never reused.
    pub(crate) number: u32,
    pub(crate) series: Arc<SeriesKey>,
    /// Where it begins in the frame.
    pub(crate) start: u32,
    /// Where it ends.
    pub(crate) end: u32,
}

impl About {
    pub(crate) fn alert(alert: &Alert) -> Self {
        Self::Alert {
            series: latest::series_of(alert),
            alert: Box::new(alert.clone()),
        }
    }
}

impl Event {
    /// What it costs to keep, in bytes.
    pub(crate) fn cost(&self) -> usize {
        let about = match &self.about {
            About::Several(several) => several.columns.len() * size_of::<Column>(),
            // Its texts are in the frame, so they take as much once more at most.
            About::Alert { .. } => self.frame.len() + size_of::<Alert>(),
            _ => 0,
        };
        self.frame.len() + about + size_of::<Self>()
    }

    /// The frame for a filter, if anything in it is wanted. `wants` says whether a column is.
    pub(crate) fn frame_for(
        &self,
        filter: &Filter,
        labels: &Labels,
        mut wants: impl FnMut(&Column) -> bool,
    ) -> Option<Bytes> {
        if !filter.wants(self.kind) {
            return None;
        }
        let several = match &self.about {
            About::Everyone => return Some(self.frame.clone()),
            About::Series(series) | About::Alert { series, .. } => {
                return filter
                    .wants_series(series, labels)
                    .then(|| self.frame.clone());
            }
            About::Several(_) if filter.wants_all_series() => return Some(self.frame.clone()),
            About::Several(several) => several,
        };
        let columns = &several.columns;
        let wanted: Vec<&Column> = columns.iter().filter(|column| wants(column)).collect();
        let alone = several.device.as_ref().is_some_and(|device| {
            filter.wants_device(device, labels)
                || filter.wants_device_as(device, several.before.as_deref())
        });
        if wanted.is_empty() && !alone {
            return None;
        }
        if wanted.len() == columns.len() {
            return Some(self.frame.clone());
        }
        let (head, tail) = (several.start as usize, several.end as usize);
        let bytes: usize = wanted.iter().map(|c| (c.end - c.start) as usize + 1).sum();
        let mut cut = Vec::with_capacity(head + bytes + self.frame.len() - tail);
        cut.extend_from_slice(&self.frame[..head]);
        for (n, column) in wanted.iter().enumerate() {
            if n > 0 {
                cut.push(b',');
            }
            cut.extend_from_slice(&self.frame[column.start as usize..column.end as usize]);
        }
        cut.extend_from_slice(&self.frame[tail..]);
        Some(Bytes::from(cut))
    }
}

/// A `readings` frame, and where in it each series stands. Without an id it is a catch-up.
pub(crate) fn readings<'a>(
    id: Option<Id<'_>>,
    series: impl Iterator<Item = (u32, &'a Arc<SeriesKey>, &'a [Point])>,
    capacity: usize,
) -> (Bytes, Several) {
    let mut frame = Frame::begin(Kind::Readings, id, capacity);
    frame.text("{\"series\":{");
    let several = frame.several(None, series, Frame::column);
    frame.text("}}");
    (frame.end(), several)
}

/// A `device` frame with the series of it that are new or changed.
pub(crate) fn device<'a>(
    id: Id<'_>,
    device: &Device,
    series: impl Iterator<Item = (u32, &'a Arc<SeriesKey>, &'a SeriesInfo)>,
) -> (Bytes, Several) {
    let mut frame = Frame::begin(Kind::Device, Some(id), 256 + series.size_hint().0 * 200);
    frame.device_open(device);
    frame.text(",\"series\":[");
    let several = frame.several(Some(device.id.clone()), series, |frame, _, info| {
        frame.series(info);
    });
    frame.text("]}");
    (frame.end(), several)
}

/// A `window` frame.
pub(crate) fn window(id: Id<'_>, series: &SeriesKey, spec: WindowSpec, window: &Window) -> Bytes {
    let mut frame = Frame::begin(Kind::Window, Some(id), 320);
    frame.text("{\"series\":");
    frame.key(series);
    for (name, number) in [
        (
            ",\"every_ms\":",
            i64::try_from(spec.every.as_millis()).unwrap_or(i64::MAX),
        ),
        (
            ",\"over_ms\":",
            i64::try_from(spec.over.as_millis()).unwrap_or(i64::MAX),
        ),
        (",\"start_ms\":", window.start_ms),
        (",\"end_ms\":", window.end_ms),
    ] {
        frame.text(name);
        frame.signed(number);
    }
    frame.text(",\"count\":");
    frame.unsigned(window.count);
    for (name, number) in [
        (",\"min\":", window.min),
        (",\"max\":", window.max),
        (",\"mean\":", window.mean),
        (",\"stddev\":", window.stddev),
        (",\"first\":", window.first),
        (",\"last\":", window.last),
        (",\"p50\":", window.p50),
        (",\"p95\":", window.p95),
        (",\"p99\":", window.p99),
    ] {
        frame.text(name);
        frame.float(number);
    }
    frame.text(",\"closed\":");
    frame.text(if window.closed { "true}" } else { "false}" });
    frame.end()
}

/// An `alert` frame.
pub(crate) fn alert(id: Option<Id<'_>>, alert: &Attended<'_>) -> Bytes {
    let mut frame = Frame::begin(Kind::Alert, id, 512);
    frame.json(alert);
    frame.end()
}

/// A frame about something that people make.
pub(crate) fn made(id: Id<'_>, kind: Kind, thing: &impl Serialize) -> Bytes {
    let mut frame = Frame::begin(kind, Some(id), 512);
    frame.json(thing);
    frame.end()
}

/// A `status` frame.
pub(crate) fn status(id: Option<Id<'_>>, key: &str, value: &impl Serialize) -> Bytes {
    let mut frame = Frame::begin(Kind::Status, id, 192);
    frame.text("{\"key\":");
    frame.string(key);
    frame.text(",\"value\":");
    frame.json(value);
    frame.text("}");
    frame.end()
}

/// What a slow client is told of what it missed.
pub(crate) fn gap(missed: u64, from_ms: i64, to_ms: i64) -> Bytes {
    let mut frame = Frame::begin(Kind::Gap, None, 128);
    frame.text("{\"missed\":");
    frame.unsigned(missed);
    frame.text(",\"from_ms\":");
    frame.signed(from_ms);
    frame.text(",\"to_ms\":");
    frame.signed(to_ms);
    frame.text("}");
    frame.end()
}

/// The `status` frame that an idle stream carries.
pub(crate) fn beat(now_ms: i64) -> Bytes {
    let mut frame = Frame::begin(Kind::Status, None, 96);
    frame.text("{\"key\":\"beat\",\"value\":{\"now_ms\":");
    frame.signed(now_ms);
    frame.text("}}");
    frame.end()
}

/// The last event of a stream, with the wait that the client should make.
pub(crate) fn bye(retry_ms: u64) -> Bytes {
    let mut frame = Frame::begin(Kind::Bye, None, 96);
    frame.text("{\"retry_ms\":");
    frame.unsigned(retry_ms);
    frame.text("}");
    with_retry(retry_ms, &frame.end())
}

/// The same frame under another id.
pub(crate) fn under(id: Id<'_>, frame: &Bytes) -> Bytes {
    const NAME: &[u8] = b"\nid: ";
    let Some(start) = frame.windows(NAME.len()).position(|at| at == NAME) else {
        return frame.clone();
    };
    let start = start + NAME.len();
    let rest = frame.get(start..).unwrap_or_default();
    let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    let mut out = Vec::with_capacity(frame.len() + 48);
    out.extend_from_slice(frame.get(..start).unwrap_or_default());
    out.extend_from_slice(id.to_string().as_bytes());
    out.extend_from_slice(rest.get(end..).unwrap_or_default());
    Bytes::from(out)
}

/// The same frame with a `retry:` line before it.
pub(crate) fn with_retry(retry_ms: u64, frame: &Bytes) -> Bytes {
    let mut out = Vec::with_capacity(frame.len() + 24);
    out.extend_from_slice(b"retry: ");
    out.extend_from_slice(itoa::Buffer::new().format(retry_ms).as_bytes());
    out.push(b'\n');
    out.extend_from_slice(frame);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        live::place::{Epoch, Mark, Place},
        model::{Quality, Timestamp, Unit, Value},
    };

    fn place() -> Place {
        Place {
            mark: Mark::default(),
            run: 5,
            number: 7,
        }
    }

    fn data(frame: &Bytes) -> serde_json::Value {
        let text = std::str::from_utf8(frame).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap();
        serde_json::from_str(line).unwrap()
    }

    fn point(ms: i64, value: Value, quality: Quality) -> Point {
        Point {
            time: Timestamp::from_millis(ms),
            value,
            quality,
        }
    }

    fn event() -> (Epoch, Event) {
        let epoch = Epoch::random();
        let a = Arc::new(SeriesKey::parse("a/t").unwrap());
        let b = Arc::new(SeriesKey::parse("b/t").unwrap());
        let pa = [point(1, Value::Float(20.5), Quality::Good)];
        let pb = [
            point(1, Value::Bool(true), Quality::Good),
            point(2, Value::Text("x\n\"y\"".into()), Quality::Bad),
        ];
        let (frame, several) = readings(
            Some(Id(&epoch, place())),
            [(0, &a, &pa[..]), (1, &b, &pb[..])].into_iter(),
            64,
        );
        let event = Event {
            sequence: 7,
            at_ms: 0,
            kind: Kind::Readings,
            news: News::Readings(1),
            about: About::Several(several),
            frame,
        };
        (epoch, event)
    }

    #[test]
    fn readings_carry_columns_and_quality_only_where_it_matters() {
        let (epoch, event) = event();
        let head = format!(
            "event: readings\nid: {}-{}\ndata: {{",
            epoch.as_str(),
            place()
        );
        assert!(event.frame.starts_with(head.as_bytes()));
        assert_eq!(
            data(&event.frame),
            serde_json::json!({"series": {
                "a/t": {"t": [1], "v": [20.5]},
                "b/t": {"t": [1, 2], "v": [true, "x\n\"y\""], "q": ["good", "bad"]},
            }})
        );
    }

    #[test]
    fn a_filtered_frame_is_cut_out_of_the_full_one() {
        let (epoch, event) = event();
        let filter = Filter::of(["b"], []).unwrap();
        let frame = event
            .frame_for(&filter, &Labels::default(), |c| {
                filter.wants_series(&c.series, &Labels::default())
            })
            .unwrap();
        assert_eq!(
            data(&frame),
            serde_json::json!({"series": {"b/t": {"t": [1, 2], "v": [true, "x\n\"y\""], "q": ["good", "bad"]}}})
        );
        assert!(frame.starts_with(
            format!("event: readings\nid: {}-{}\n", epoch.as_str(), place()).as_bytes()
        ));
        let nobody = Filter::of(["c"], []).unwrap();
        assert!(
            event
                .frame_for(&nobody, &Labels::default(), |_| false)
                .is_none()
        );
    }

    #[test]
    fn a_series_says_its_kind_unit_and_newest_value() {
        let mut frame = Frame::begin(Kind::Device, None, 0);
        frame.series(&SeriesInfo {
            key: SeriesKey::parse("a/t").unwrap(),
            unit: Some(Unit("Cel".into())),
            latest: Some(point(5, Value::Int(-3), Quality::Uncertain)),
            retained: true,
            points: 1,
            too_late: 0,
        });
        assert_eq!(
            data(&frame.end()),
            serde_json::json!({"id": "a/t", "device": "a", "metric": "t", "unit": "Cel", "kind": "number",
                "t": 5, "v": -3, "quality": "uncertain", "retained": true, "too_late": 0})
        );
    }

    #[test]
    fn a_frame_is_the_same_under_another_id() {
        let (epoch, event) = event();
        let other = Place {
            number: 0,
            ..place()
        };
        let frame = under(Id(&epoch, other), &event.frame);
        let text = std::str::from_utf8(&frame).unwrap();
        let line = format!("\nid: {}-{other}\n", epoch.as_str());
        assert!(text.contains(&line), "{text}");
        assert_eq!(data(&frame), data(&event.frame));
        let beat = beat(5);
        assert_eq!(under(Id(&epoch, other), &beat), beat, "it has none");
    }

    #[test]
    fn the_wait_is_digits_only_and_comes_before_the_event() {
        assert_eq!(
            &bye(2500)[..],
            b"retry: 2500\nevent: bye\ndata: {\"retry_ms\":2500}\n\n"
        );
    }

    proptest! {
        #[test]
        fn any_text_stays_one_line_and_comes_back_the_same(text in any::<String>(), number in any::<f64>()) {
            let mut frame = Frame::begin(Kind::Status, None, 0);
            frame.text("[");
            frame.string(&text);
            frame.text(",");
            frame.float(number);
            frame.text("]");
            let frame = frame.end();
            prop_assert_eq!(frame.iter().filter(|b| **b == b'\n').count(), 3);
            prop_assert!(!frame.contains(&b'\r'));
            let back = data(&frame);
            prop_assert_eq!(back[0].as_str(), Some(text.as_str()));
            // serde_json reads some floats one bit off; the standard library doesn't.
            let written = std::str::from_utf8(&frame).unwrap().rsplit_once(',').unwrap().1;
            let written = written.trim_end().trim_end_matches(']');
            if number.is_finite() {
                prop_assert_eq!(written.parse::<f64>().unwrap(), number);
            } else {
                prop_assert_eq!(written, "null");
            }
        }
    }
}
