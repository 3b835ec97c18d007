//! The gateway's own JSON, for `POST /api/v1/readings`: one object or an array of
//! `{"device","metric","value","time"?,"unit"?}` or `{"device","time"?,"values":{metric:value}}`.
//!
//! It is read as any JSON ([`super::json`]) and then understood. A record without a device, a metric or a value is
//! refused, and so is one whose time can't be read; its neighbours are not. Other keys are passed over.

use super::{
    Decoded, Field, Record, RecordTime, Role, Scalar, Span, excerpt, json, mapping::TimeFormat,
    time,
};
use crate::rejects::Reason;

const VALUES: &str = "values.";

pub(super) fn decode(payload: &[u8], local_offset_minutes: Option<i32>, out: &mut Decoded) {
    json::decode(payload, out);
    let records = std::mem::take(&mut out.records);
    let fields = std::mem::replace(&mut out.fields, std::mem::take(&mut out.spare));
    out.fields.clear();
    out.open_fields = 0;
    for record in &records {
        let found = fields.get(record.fields.clone()).unwrap_or_default();
        match understand(record, found, local_offset_minutes, out) {
            Ok(understood) => {
                out.open_fields = out.fields.len();
                out.records.push(understood);
            }
            Err((reason, detail)) => {
                out.fields.truncate(out.open_fields);
                out.fault(reason, record.index, || detail);
            }
        }
    }
    out.spare = fields;
}

/// Fills the fields of one record.
fn understand(
    record: &Record,
    found: &[Field],
    local_offset_minutes: Option<i32>,
    out: &mut Decoded,
) -> Result<Record, (Reason, String)> {
    let start = out.fields.len();
    let (mut device, mut metric, mut unit, mut value) = (None, None, None, None);
    let mut at = RecordTime::Unsaid;
    for field in found {
        let path = out.text(field.path);
        match (path, field.value) {
            ("device", Scalar::Text(text)) => device = Some(text),
            ("metric", Scalar::Text(text)) => metric = Some(text),
            ("unit", Scalar::Text(text)) => unit = Some(text),
            ("value", scalar) => value = Some(scalar),
            ("time", scalar) => {
                let read = match scalar {
                    Scalar::Int(int) => time::from_int(int, TimeFormat::Auto),
                    Scalar::Float(float) => time::from_float(float, TimeFormat::Auto),
                    Scalar::Text(text) => {
                        time::from_text(out.text(text), TimeFormat::Auto, local_offset_minutes)
                    }
                    Scalar::Bool(_) => Err(time::TimeError::Unreadable("a boolean".into())),
                };
                match read {
                    Ok(Some(time)) => at = RecordTime::At(time),
                    Ok(None) => {}
                    Err(error) => return Err((Reason::BadTime, error.to_string())),
                }
            }
            ("device" | "metric", _) => {
                return Err((Reason::NoIdentity, format!("{path} is not a text")));
            }
            (path, value) if path.len() > VALUES.len() && path.starts_with(VALUES) => {
                let name = Span {
                    start: field.path.start + VALUES.len() as u32,
                    ..field.path
                };
                out.push(name, value, Role::Value);
            }
            _ => {}
        }
    }
    let Some(device) = device else {
        return Err((Reason::NoIdentity, "no device".into()));
    };
    match (metric, value) {
        (Some(path), Some(value)) => out.fields.push(Field {
            path,
            value,
            unit,
            role: Role::Value,
        }),
        (None, Some(_)) => return Err((Reason::NoIdentity, "a value without a metric".into())),
        (Some(metric), None) => {
            let metric = excerpt(out.text(metric));
            return Err((Reason::Malformed, format!("metric {metric} has no value")));
        }
        (None, None) if out.fields.len() == start => {
            return Err((Reason::Malformed, "neither value nor values".into()));
        }
        (None, None) => {}
    }
    Ok(Record {
        index: record.index,
        device: Some(device),
        time: at,
        fields: start..out.fields.len(),
    })
}
