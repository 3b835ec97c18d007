//! Units: UCUM codes (<https://ucum.org/ucum>), the ways in which devices write them, and conversion between them.
//!
//! [`resolve`] makes a UCUM code of what a device or a person wrote. [`conversion`] tells how to get from one code to
//! another: a factor, and for temperatures an offset. Codes are understood by the grammar (prefixes, `.`, `/`,
//! exponents), over the atoms that sensors use. What is not understood becomes an annotation, `{lqi}`: it is kept and
//! shown, and converts to nothing but itself. So do logarithmic units (`dB[mW]`) and `[pH]`.
//!
//! `C` and `F` are read as degrees, as devices mean them, and not as coulomb and farad.

use smol_str::SmolStr;

use crate::model::Unit;

/// Longest unit that is kept, in bytes.
pub const MAX_UNIT_BYTES: usize = 64;

/// How to get from one unit to another: `value * scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// The factor.
    pub scale: f64,
    /// What is added afterwards.
    pub offset: f64,
}

/// Exponents of metre, gram, second, kelvin, ampere, lumen, radian, mole, bit.
type Dimensions = [i8; 9];

/// A unit in base units: `value * factor + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Meaning {
    dimensions: Dimensions,
    factor: f64,
    offset: f64,
}

const NONE: Dimensions = [0; 9];
const LENGTH: Dimensions = [1, 0, 0, 0, 0, 0, 0, 0, 0];
const MASS: Dimensions = [0, 1, 0, 0, 0, 0, 0, 0, 0];
const TIME: Dimensions = [0, 0, 1, 0, 0, 0, 0, 0, 0];
const TEMPERATURE: Dimensions = [0, 0, 0, 1, 0, 0, 0, 0, 0];
const CURRENT: Dimensions = [0, 0, 0, 0, 1, 0, 0, 0, 0];
const LIGHT: Dimensions = [0, 0, 0, 0, 0, 1, 0, 0, 0];
const ANGLE: Dimensions = [0, 0, 0, 0, 0, 0, 1, 0, 0];
const AMOUNT: Dimensions = [0, 0, 0, 0, 0, 0, 0, 1, 0];
const DATA: Dimensions = [0, 0, 0, 0, 0, 0, 0, 0, 1];
const FREQUENCY: Dimensions = [0, 0, -1, 0, 0, 0, 0, 0, 0];
const VOLUME: Dimensions = [3, 0, 0, 0, 0, 0, 0, 0, 0];
const FORCE: Dimensions = [1, 1, -2, 0, 0, 0, 0, 0, 0];
const PRESSURE: Dimensions = [-1, 1, -2, 0, 0, 0, 0, 0, 0];
const ENERGY: Dimensions = [2, 1, -2, 0, 0, 0, 0, 0, 0];
const POWER: Dimensions = [2, 1, -3, 0, 0, 0, 0, 0, 0];
const VOLTAGE: Dimensions = [2, 1, -3, 0, -1, 0, 0, 0, 0];

/// Code, whether prefixes are allowed, dimensions, factor to base units (metre, gram, second, …), offset.
type Atom = (&'static str, bool, Dimensions, f64, f64);

#[rustfmt::skip]
const ATOMS: &[Atom] = &[
    ("%", false, NONE, 0.01, 0.0),
    ("[ppth]", false, NONE, 1e-3, 0.0),
    ("[ppm]", false, NONE, 1e-6, 0.0),
    ("[ppb]", false, NONE, 1e-9, 0.0),
    ("m", true, LENGTH, 1.0, 0.0),
    ("[in_i]", false, LENGTH, 0.0254, 0.0),
    ("[ft_i]", false, LENGTH, 0.3048, 0.0),
    ("[mi_i]", false, LENGTH, 1_609.344, 0.0),
    ("[nmi_i]", false, LENGTH, 1_852.0, 0.0),
    ("[kn_i]", false, [1, 0, -1, 0, 0, 0, 0, 0, 0], 1_852.0 / 3_600.0, 0.0),
    ("L", true, VOLUME, 1e-3, 0.0),
    ("l", true, VOLUME, 1e-3, 0.0),
    ("[gal_us]", false, VOLUME, 3.785_411_784e-3, 0.0),
    ("g", true, MASS, 1.0, 0.0),
    ("t", true, MASS, 1e6, 0.0),
    ("[lb_av]", false, MASS, 453.592_37, 0.0),
    ("s", true, TIME, 1.0, 0.0),
    ("min", false, TIME, 60.0, 0.0),
    ("h", false, TIME, 3_600.0, 0.0),
    ("d", false, TIME, 86_400.0, 0.0),
    ("wk", false, TIME, 604_800.0, 0.0),
    ("Hz", true, FREQUENCY, 1.0, 0.0),
    ("Bq", true, FREQUENCY, 1.0, 0.0),
    ("K", true, TEMPERATURE, 1.0, 0.0),
    ("Cel", true, TEMPERATURE, 1.0, 273.15),
    ("[degF]", false, TEMPERATURE, 5.0 / 9.0, 459.67 * 5.0 / 9.0),
    ("A", true, CURRENT, 1.0, 0.0),
    ("V", true, VOLTAGE, 1e3, 0.0),
    ("W", true, POWER, 1e3, 0.0),
    ("J", true, ENERGY, 1e3, 0.0),
    ("N", true, FORCE, 1e3, 0.0),
    ("Pa", true, PRESSURE, 1e3, 0.0),
    ("bar", true, PRESSURE, 1e8, 0.0),
    ("atm", false, PRESSURE, 101_325e3, 0.0),
    ("m[Hg]", true, PRESSURE, 133_322_387.415, 0.0),
    ("m[H2O]", true, PRESSURE, 9_806_650.0, 0.0),
    ("[in_i'Hg]", false, PRESSURE, 3_386_388.640_341, 0.0),
    ("[psi]", false, PRESSURE, 6_894_757.293_168, 0.0),
    ("Ohm", true, [2, 1, -3, 0, -2, 0, 0, 0, 0], 1e3, 0.0),
    ("S", true, [-2, -1, 3, 0, 2, 0, 0, 0, 0], 1e-3, 0.0),
    ("T", true, [0, 1, -2, 0, -1, 0, 0, 0, 0], 1e3, 0.0),
    ("G", true, [0, 1, -2, 0, -1, 0, 0, 0, 0], 0.1, 0.0),
    ("Sv", true, [2, 0, -2, 0, 0, 0, 0, 0, 0], 1.0, 0.0),
    ("lm", true, LIGHT, 1.0, 0.0),
    ("lx", true, [-2, 0, 0, 0, 0, 1, 0, 0, 0], 1.0, 0.0),
    ("rad", true, ANGLE, 1.0, 0.0),
    ("deg", false, ANGLE, std::f64::consts::PI / 180.0, 0.0),
    ("mol", true, AMOUNT, 1.0, 0.0),
    ("bit", true, DATA, 1.0, 0.0),
    ("By", true, DATA, 8.0, 0.0),
];

#[rustfmt::skip]
const PREFIXES: &[(&str, f64)] = &[
    ("da", 1e1), ("h", 1e2), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12),
    ("d", 1e-1), ("c", 1e-2), ("m", 1e-3), ("u", 1e-6), ("n", 1e-9), ("p", 1e-12),
];

/// What devices write, where it is not the code already. Looked up as it is, then in lower case.
#[rustfmt::skip]
const ALIASES: &[(&str, &str)] = &[
    ("C", "Cel"), ("°C", "Cel"), ("ºC", "Cel"), ("℃", "Cel"), ("degC", "Cel"), ("celsius", "Cel"), ("°c", "Cel"), ("degc", "Cel"), ("cel", "Cel"),
    ("F", "[degF]"), ("°F", "[degF]"), ("ºF", "[degF]"), ("℉", "[degF]"), ("degF", "[degF]"), ("fahrenheit", "[degF]"), ("°f", "[degF]"), ("degf", "[degF]"),
    ("°K", "K"), ("kelvin", "K"),
    ("%RH", "%"), ("%rh", "%"), ("% rh", "%"), ("rh%", "%"), ("percent", "%"), ("pct", "%"), ("‰", "[ppth]"),
    ("ppm", "[ppm]"), ("ppb", "[ppb]"),
    ("hpa", "hPa"), ("kpa", "kPa"), ("pa", "Pa"), ("mbar", "mbar"), ("millibar", "mbar"), ("mmHg", "mm[Hg]"), ("mmhg", "mm[Hg]"), ("inHg", "[in_i'Hg]"), ("inhg", "[in_i'Hg]"), ("psi", "[psi]"), ("cmH2O", "cm[H2O]"),
    ("Wh", "W.h"), ("wh", "W.h"), ("kWh", "kW.h"), ("kwh", "kW.h"), ("MWh", "MW.h"), ("mWh", "mW.h"), ("W·h", "W.h"), ("Wmin", "W.min"), ("W·min", "W.min"), ("Ws", "W.s"),
    ("VA", "V.A"), ("kVA", "kV.A"), ("VAh", "V.A.h"), ("kVAh", "kV.A.h"), ("var", "V.A{reactive}"), ("VAr", "V.A{reactive}"), ("kvar", "kV.A{reactive}"), ("varh", "V.A.h{reactive}"), ("kvarh", "kV.A.h{reactive}"),
    ("Ah", "A.h"), ("mAh", "mA.h"), ("µA", "uA"), ("µV", "uV"), ("volt", "V"), ("volts", "V"), ("v", "V"), ("mv", "mV"), ("ampere", "A"), ("amps", "A"), ("ma", "mA"), ("watt", "W"), ("watts", "W"), ("w", "W"), ("kw", "kW"),
    ("Ω", "Ohm"), ("ohm", "Ohm"), ("ohms", "Ohm"), ("kΩ", "kOhm"), ("MΩ", "MOhm"), ("hz", "Hz"), ("khz", "kHz"),
    ("lux", "lx"),
    ("km/h", "km/h"), ("kmh", "km/h"), ("kph", "km/h"), ("mph", "[mi_i]/h"), ("kn", "[kn_i]"), ("kt", "[kn_i]"), ("knots", "[kn_i]"), ("m/s²", "m/s2"), ("m/s^2", "m/s2"),
    ("µm", "um"), ("in", "[in_i]"), ("inch", "[in_i]"), ("ft", "[ft_i]"), ("mi", "[mi_i]"), ("nmi", "[nmi_i]"),
    ("m³", "m3"), ("m^3", "m3"), ("m²", "m2"), ("m³/h", "m3/h"), ("l/min", "L/min"), ("lpm", "L/min"), ("gal", "[gal_us]"), ("µs", "us"), ("sec", "s"), ("secs", "s"), ("seconds", "s"), ("mins", "min"), ("minutes", "min"), ("hours", "h"), ("days", "d"),
    ("µg/m³", "ug/m3"), ("μg/m³", "ug/m3"), ("µg/m3", "ug/m3"), ("ug/m³", "ug/m3"), ("mg/m³", "mg/m3"), ("µg", "ug"), ("lb", "[lb_av]"), ("lbs", "[lb_av]"),
    ("°", "deg"), ("degrees", "deg"), ("µT", "uT"), ("µS/cm", "uS/cm"), ("μS/cm", "uS/cm"), ("µSv/h", "uSv/h"), ("W/m²", "W/m2"), ("W/m^2", "W/m2"),
    ("B", "By"), ("kB", "kBy"), ("KB", "kBy"), ("MB", "MBy"), ("GB", "GBy"), ("bytes", "By"),
    ("dBm", "dB[mW]"), ("dbm", "dB[mW]"), ("pH", "[pH]"), ("ph", "[pH]"), ("rpm", "{rot}/min"), ("RPM", "{rot}/min"),
];

/// Codes that are kept as they are and convert to nothing else.
const OPAQUE: &[&str] = &["dB[mW]", "dB", "[pH]"];

/// The UCUM code of what a device or a person wrote; `None` for nothing (empty, or blanks).
#[must_use]
pub fn resolve(text: &str) -> Option<Unit> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let alias = |wanted: &str| {
        ALIASES
            .iter()
            .find(|(alias, _)| *alias == wanted)
            .map(|(_, code)| Unit(SmolStr::new_static(code)))
    };
    if let Some(unit) = alias(text) {
        return Some(unit);
    }
    if text.len() > MAX_UNIT_BYTES {
        return annotation(text);
    }
    if OPAQUE.contains(&text) || is_annotation(text) || meaning(text).is_some() {
        return Some(Unit(text.into()));
    }
    alias(&text.to_lowercase()).or_else(|| annotation(text))
}

/// Whether a text is a unit that is understood, in UCUM or in a usual way of writing, or an annotation; for checking configs.
#[must_use]
pub fn is_known(text: &str) -> bool {
    is_annotation(text) || resolve(text).is_some_and(|unit| !is_annotation(&unit.0))
}

/// How to get from one code to another; `None` if they measure different things.
#[must_use]
pub fn conversion(from: &Unit, to: &Unit) -> Option<Conversion> {
    if from == to {
        return Some(Conversion {
            scale: 1.0,
            offset: 0.0,
        });
    }
    // An annotation stands for a thing of its own, although UCUM lets it be a bare number.
    if is_annotation(&from.0) || is_annotation(&to.0) {
        return None;
    }
    let (from, to) = (meaning(&from.0)?, meaning(&to.0)?);
    (from.dimensions == to.dimensions).then(|| Conversion {
        scale: from.factor / to.factor,
        offset: (from.offset - to.offset) / to.factor,
    })
}

fn is_annotation(text: &str) -> bool {
    text.len() > 2
        && text.len() <= MAX_UNIT_BYTES
        && text
            .strip_prefix('{')
            .and_then(|t| t.strip_suffix('}'))
            .is_some_and(|inside| {
                !inside.contains(['{', '}']) && !inside.contains(char::is_control)
            })
}

fn annotation(text: &str) -> Option<Unit> {
    let mut code = String::from("{");
    for c in text.chars() {
        if code.len() + c.len_utf8() >= MAX_UNIT_BYTES {
            break;
        }
        if !c.is_control() && c != '{' && c != '}' {
            code.push(c);
        }
    }
    code.push('}');
    (code.len() > 2).then(|| Unit(code.into()))
}

/// What a code means; `None` if it is not understood.
fn meaning(code: &str) -> Option<Meaning> {
    let mut total = Meaning {
        dimensions: NONE,
        factor: 1.0,
        offset: 0.0,
    };
    let (mut rest, mut sign) = match code.strip_prefix('/') {
        Some(rest) => (rest, -1),
        None => (code, 1),
    };
    loop {
        let end = component_end(rest);
        let (part, after) = rest.split_at(end);
        let unit = component(part)?;
        // An offset has a meaning only for a temperature that stands alone.
        total.offset = if part.len() == code.len() {
            unit.offset
        } else {
            0.0
        };
        total.factor *= unit.factor.powi(sign);
        for (sum, add) in total.dimensions.iter_mut().zip(unit.dimensions) {
            *sum = sum.checked_add(add.checked_mul(i8::try_from(sign).ok()?)?)?;
        }
        let Some(operator) = after.bytes().next() else {
            break;
        };
        sign = if operator == b'/' { -1 } else { 1 };
        rest = &after[1..];
    }
    (total.factor.is_finite() && total.factor > 0.0).then_some(total)
}

/// Where the first component ends: at a `.` or `/` outside of brackets and braces.
fn component_end(text: &str) -> usize {
    let mut inside = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => inside = true,
            b']' | b'}' => inside = false,
            b'.' | b'/' if !inside => return at,
            _ => {}
        }
    }
    text.len()
}

/// An atom with perhaps a prefix, an exponent and an annotation; or a number.
fn component(text: &str) -> Option<Meaning> {
    let text = match text.split_once('{') {
        Some((before, annotation)) if annotation.ends_with('}') => before,
        Some(_) => return None,
        None => text,
    };
    if text.is_empty() || text == "1" {
        return Some(Meaning {
            dimensions: NONE,
            factor: 1.0,
            offset: 0.0,
        });
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let symbol = text[..digits].trim_end_matches(['+', '-']);
    let exponent: i8 = match &text[symbol.len()..] {
        "" => 1,
        exponent => exponent.parse().ok().filter(|e| (-9..=9).contains(e))?,
    };
    let (prefix, &(_, _, dimensions, factor, offset)) = atom(symbol)?;
    let mut raised = NONE;
    for (to, from) in raised.iter_mut().zip(dimensions) {
        *to = from * exponent;
    }
    Some(Meaning {
        dimensions: raised,
        factor: (prefix * factor).powi(exponent.into()),
        offset: if exponent == 1 { offset } else { 0.0 },
    })
}

fn atom(symbol: &str) -> Option<(f64, &'static Atom)> {
    if let Some(atom) = ATOMS.iter().find(|(code, ..)| *code == symbol) {
        return Some((1.0, atom));
    }
    PREFIXES.iter().find_map(|(prefix, scale)| {
        let code = symbol.strip_prefix(prefix)?;
        ATOMS
            .iter()
            .find(|(atom, prefixed, ..)| *prefixed && *atom == code)
            .map(|atom| (*scale, atom))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(value: f64, from: &str, to: &str) -> Option<f64> {
        let c = conversion(&resolve(from).unwrap(), &resolve(to).unwrap())?;
        Some(value * c.scale + c.offset)
    }

    #[track_caller]
    fn close(found: Option<f64>, wanted: f64) {
        let found = found.expect("convertible");
        assert!(
            (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0),
            "{found} is not {wanted}"
        );
    }

    #[test]
    fn what_devices_write_becomes_a_code() {
        for (written, code) in [
            ("°C", "Cel"),
            ("C", "Cel"),
            ("degC", "Cel"),
            ("F", "[degF]"),
            ("Lux", "lx"),
            ("lx", "lx"),
            ("kWh", "kW.h"),
            ("W·min", "W.min"),
            ("mg/m³", "mg/m3"),
            ("ppm", "[ppm]"),
            ("%", "%"),
            ("km/h", "km/h"),
            ("mV", "mV"),
            ("mA", "mA"),
            ("kPa", "kPa"),
            ("mbar", "mbar"),
            ("m/s", "m/s"),
            ("lqi", "{lqi}"),
            ("{lqi}", "{lqi}"),
            ("WATTS", "W"),
            ("mmHg", "mm[Hg]"),
            (" V ", "V"),
        ] {
            assert_eq!(resolve(written).unwrap().0, code, "{written}");
        }
        assert_eq!(resolve("  "), None);
        assert_eq!(resolve("{\u{1}"), None);
        assert!(!is_known("flurbs") && is_known("{flurbs}") && is_known("hPa"));
    }

    #[test]
    fn values_convert_between_units_of_one_kind() {
        close(convert(20.0, "C", "F"), 68.0);
        close(convert(-40.0, "F", "Cel"), -40.0);
        close(convert(0.0, "Cel", "K"), 273.15);
        close(convert(1013.25, "hPa", "atm"), 1.0);
        close(convert(1013.25, "mbar", "hPa"), 1013.25);
        close(convert(760.0, "mmHg", "Pa"), 101_325.014_435_4);
        close(convert(1.5, "kWh", "J"), 5_400_000.0);
        close(convert(120.0, "W·min", "Wh"), 2.0);
        close(convert(36.0, "km/h", "m/s"), 10.0);
        close(convert(3000.0, "mV", "V"), 3.0);
        close(convert(1.0, "mg/m³", "µg/m³"), 1000.0);
        close(convert(50.0, "%", "1"), 0.5);
        close(convert(1.0, "V.A", "W"), 1.0);
        close(convert(60.0, "/min", "Hz"), 1.0);
    }

    #[test]
    fn different_kinds_do_not_convert() {
        for (from, to) in [
            ("Cel", "%"),
            ("V", "A"),
            ("{lqi}", "%"),
            ("{lqi}", "1"),
            ("dBm", "W"),
            ("hPa", "m"),
        ] {
            assert_eq!(convert(1.0, from, to), None, "{from} to {to}");
        }
        close(convert(7.0, "{lqi}", "lqi"), 7.0);
    }

    proptest::proptest! {
        #[test]
        fn any_text_resolves_without_panic_and_stays_what_it_became(text in ".{0,80}") {
            if let Some(unit) = resolve(&text) {
                proptest::prop_assert!(unit.0.len() <= MAX_UNIT_BYTES);
                proptest::prop_assert_eq!(resolve(&unit.0), Some(unit));
            }
        }
    }
}
