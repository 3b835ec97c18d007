//! Cuts an expression into tokens, and puts numbered names where it looks something up.

use std::{fmt::Write as _, ops::Range, time::Duration};

use super::{Aggregate, MAX_BYTES, MAX_NAMES, Misfit, Name};
use crate::{
    alert::Of,
    model::{Metric, SeriesKey},
};

/// What may be called, with what.
const CALLS: &str = "`value`, metric(\"name\"), series(\"device/metric\"), text(), age(\"device/metric\"), and mean, min, max, count, stddev, first, rate of a time, as in mean(\"5m\")";

const AGGREGATES: [(&str, Aggregate); 7] = [
    ("mean", Aggregate::Mean),
    ("min", Aggregate::Min),
    ("max", Aggregate::Max),
    ("count", Aggregate::Count),
    ("stddev", Aggregate::Stddev),
    ("first", Aggregate::First),
    ("rate", Aggregate::Rate),
];

/// An expression as the engine takes it.
#[derive(Debug)]
pub(super) struct Read {
    /// With `_0`, `_1` and so on for what is looked up.
    pub(super) rewritten: String,
    /// By number.
    pub(super) names: Vec<Name>,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind<'a> {
    Word(&'a str),
    Number(&'a str),
    Text(&'a str),
    Sign(&'a str),
}

struct Token<'a> {
    kind: Kind<'a>,
    at: Range<usize>,
}

/// What the engine gets for a piece of the text.
enum Piece<'a> {
    /// As it stands.
    Same(&'a str),
    /// A text to compare with.
    Text(&'a str),
    /// The name of that number.
    Name(usize),
}

pub(super) fn read(
    text: &str,
    duration: &dyn Fn(&str) -> Option<Duration>,
) -> Result<Read, Misfit> {
    if text.len() > MAX_BYTES {
        return Err(wrong(
            0..text.len(),
            format!(
                "an expression has at most {MAX_BYTES} bytes, this one {}",
                text.len()
            ),
        ));
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err(wrong(
            0..text.len(),
            "an expression is needed, such as \"value > 30\"",
        ));
    }
    let mut names: Vec<Name> = Vec::new();
    let mut pieces: Vec<(Piece<'_>, Range<usize>)> = Vec::new();
    let mut rest = tokens.as_slice();
    while let [token, after @ ..] = rest {
        rest = after;
        let piece = match token.kind {
            Kind::Word(word @ ("and" | "or" | "not" | "true" | "false")) => Piece::Same(word),
            Kind::Word(word) => {
                let (name, after) = name(word, token, rest, duration)?;
                rest = after;
                Piece::Name(number_of(name, &mut names))
            }
            Kind::Number(same) | Kind::Sign(same) => Piece::Same(same),
            Kind::Text(text) => Piece::Text(text),
        };
        if names.len() > MAX_NAMES {
            return Err(wrong(
                token.at.clone(),
                format!("an expression looks up at most {MAX_NAMES} values"),
            ));
        }
        pieces.push((piece, token.at.clone()));
    }
    check_texts(&pieces, &names)?;
    find_truths(&mut pieces, &mut names);
    let mut rewritten = String::with_capacity(text.len());
    for (piece, _) in &pieces {
        // Writing to a string cannot fail.
        let _ = match piece {
            Piece::Same(same) => write!(rewritten, "{same} "),
            Piece::Text(text) => write!(rewritten, "'{text}' "),
            Piece::Name(number) => write!(rewritten, "_{number} "),
        };
    }
    Ok(Read { rewritten, names })
}

/// The sign or word beside a piece; empty beyond the ends, none where something is looked up or a text stands.
fn sign<'a>(pieces: &[(Piece<'a>, Range<usize>)], at: Option<usize>) -> Option<&'a str> {
    match at.and_then(|at| pieces.get(at)) {
        Some((Piece::Same(sign), _)) => Some(sign),
        Some(_) => None,
        None => Some(""),
    }
}

/// Texts are only compared: with a text, by `==` or `!=`.
fn check_texts(pieces: &[(Piece<'_>, Range<usize>)], names: &[Name]) -> Result<(), Misfit> {
    let is_text = |at: Option<usize>| match at.and_then(|at| pieces.get(at)) {
        Some((Piece::Text(_), _)) => true,
        Some((Piece::Name(number), _)) => matches!(names[*number], Name::Text(_)),
        _ => false,
    };
    for (at, (_, place)) in pieces.iter().enumerate() {
        if !is_text(Some(at)) {
            continue;
        }
        let sides = [
            (at.checked_sub(1), at.checked_sub(2)),
            (Some(at + 1), Some(at + 2)),
        ];
        let compares = |sign: Option<&str>| matches!(sign, Some("==" | "!="));
        let compared = sides
            .iter()
            .any(|(beside, beyond)| compares(sign(pieces, *beside)) && is_text(*beyond));
        let alone = sides.iter().all(|(beside, _)| {
            let sign = sign(pieces, *beside);
            compares(sign) || sign.is_some_and(is_logical)
        });
        if !compared || !alone {
            return Err(wrong(
                place.clone(),
                "a text can only be compared with a text, by == or !=, as in text() == \"error\"",
            ));
        }
    }
    Ok(())
}

/// Newest values that stand for true or false, and not for a number: nothing is reckoned or compared beside them.
fn find_truths(pieces: &mut [(Piece<'_>, Range<usize>)], names: &mut Vec<Name>) {
    for at in 0..pieces.len() {
        let Piece::Name(number) = pieces[at].0 else {
            continue;
        };
        let Name::Number(of) = &names[number] else {
            continue;
        };
        let (mut before, mut after) = (at.checked_sub(1), Some(at + 1));
        while sign(pieces, before) == Some("(") && sign(pieces, after) == Some(")") {
            before = before.and_then(|before| before.checked_sub(1));
            after = after.map(|after| after + 1);
        }
        let logical = |at| sign(pieces, at).is_some_and(is_logical);
        if logical(before) && logical(after) {
            let truth = Name::Truth(of.clone());
            pieces[at].0 = Piece::Name(number_of(truth, names));
        }
    }
}

fn number_of(name: Name, names: &mut Vec<Name>) -> usize {
    names
        .iter()
        .position(|known| *known == name)
        .unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        })
}

fn is_logical(sign: &str) -> bool {
    matches!(sign, "and" | "or" | "not" | "(" | ")" | "")
}

/// Reads what a word looks up, and the rest behind it.
fn name<'t, 'a>(
    word: &str,
    token: &Token<'a>,
    rest: &'t [Token<'a>],
    duration: &dyn Fn(&str) -> Option<Duration>,
) -> Result<(Name, &'t [Token<'a>]), Misfit> {
    if word == "value" {
        return Ok((Name::Number(Of::Itself), rest));
    }
    let aggregate = AGGREGATES.iter().find(|(name, _)| *name == word);
    if aggregate.is_none() && !matches!(word, "metric" | "series" | "text" | "age") {
        return Err(wrong(
            token.at.clone(),
            format!(
                "there is no `{word}` here: there are {CALLS}; another metric of the same device is metric(\"{word}\")"
            ),
        ));
    }
    let (arguments, rest) = arguments(word, token, rest)?;
    let misused = |at: &Range<usize>, example: &str| {
        wrong(at.clone(), format!("`{word}` is used as in {example}"))
    };
    let name = match (word, aggregate, arguments.as_slice()) {
        ("metric", _, [(metric, at)]) => {
            if metric.is_empty() || metric.contains(['/', '*', '?']) {
                return Err(misused(
                    at,
                    "metric(\"humidity\"): one metric of the same device",
                ));
            }
            Name::Number(Of::Metric(Metric((*metric).into())))
        }
        ("series", _, [(series, at)]) => match of(series, at)? {
            of @ Of::Series(_) => Name::Number(of),
            _ => return Err(misused(at, "series(\"device/metric\")")),
        },
        ("text", _, []) => Name::Text(Of::Itself),
        ("text", _, [(series, at)]) => Name::Text(of(series, at)?),
        ("age", _, [(series, at)]) => Name::Age(of(series, at)?),
        (_, Some((_, aggregate)), [(over, at), more @ ..]) if more.len() <= 1 => {
            let span = duration(over)
                .filter(|span| *span >= Duration::from_secs(1))
                .ok_or_else(|| {
                    misused(at, &format!("{word}(\"5m\"): a time of at least \"1s\""))
                })?;
            let of = more
                .first()
                .map_or(Ok(Of::Itself), |(series, at)| of(series, at))?;
            Name::Aggregate(*aggregate, of, span)
        }
        _ => {
            let example = match word {
                "metric" => "metric(\"humidity\")",
                "series" | "age" => &format!("{word}(\"device/metric\")"),
                "text" => "text() or text(\"device/metric\")",
                _ => &format!("{word}(\"5m\") or {word}(\"5m\", \"device/metric\")"),
            };
            return Err(misused(&token.at, example));
        }
    };
    Ok((name, rest))
}

/// A series, or another metric of the same device.
fn of(text: &str, at: &Range<usize>) -> Result<Of, Misfit> {
    let has_one = text.matches('/').count() == 1;
    match SeriesKey::parse(text) {
        _ if text.contains(['*', '?']) => Err(wrong(
            at.clone(),
            "an expression looks at one series each time: a pattern has no meaning here",
        )),
        Some(key) if has_one => Ok(Of::Series(key)),
        None if !text.is_empty() && !text.contains('/') => Ok(Of::Metric(Metric(text.into()))),
        _ => Err(wrong(
            at.clone(),
            format!("\"{text}\" is neither device/metric nor a metric"),
        )),
    }
}

type Arguments<'a> = Vec<(&'a str, Range<usize>)>;

/// `("5m", "boiler/temperature")`: texts only.
fn arguments<'t, 'a>(
    word: &str,
    token: &Token<'a>,
    rest: &'t [Token<'a>],
) -> Result<(Arguments<'a>, &'t [Token<'a>]), Misfit> {
    let [open, rest @ ..] = rest else {
        return Err(wrong(token.at.clone(), format!("`{word}` needs its ( )")));
    };
    if open.kind != Kind::Sign("(") {
        return Err(wrong(token.at.clone(), format!("`{word}` needs its ( )")));
    }
    let mut arguments = Vec::new();
    let mut rest = rest;
    loop {
        match rest {
            [close, after @ ..] if close.kind == Kind::Sign(")") && arguments.is_empty() => {
                return Ok((arguments, after));
            }
            [
                Token {
                    kind: Kind::Text(text),
                    at,
                },
                next,
                after @ ..,
            ] => {
                arguments.push((*text, at.clone()));
                rest = after;
                match next.kind {
                    Kind::Sign(")") => return Ok((arguments, rest)),
                    Kind::Sign(",") => {}
                    _ => {
                        return Err(wrong(next.at.clone(), format!("`{word}` lacks its `)`")));
                    }
                }
            }
            [other, ..] => {
                return Err(wrong(
                    other.at.clone(),
                    format!("in `{word}( )` stands a text in quotes"),
                ));
            }
            [] => return Err(wrong(token.at.clone(), format!("`{word}` lacks its `)`"))),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, Misfit> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let until = |stop: fn(char) -> bool| rest.find(stop).unwrap_or(rest.len());
        let (kind, length) = match first {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let length = until(|c| !c.is_ascii_alphanumeric() && c != '_');
                (Kind::Word(&rest[..length]), length)
            }
            c if c.is_ascii_digit() => {
                let length = until(|c| !c.is_ascii_alphanumeric() && c != '.');
                let number = &rest[..length];
                if number.parse::<f64>().is_err() || number.ends_with('.') {
                    return Err(wrong(at..at + length, format!("\"{number}\" is no number")));
                }
                (Kind::Number(number), length)
            }
            quote @ ('"' | '\'') => {
                let Some(length) = rest[1..].find(quote) else {
                    return Err(wrong(at..text.len(), "a text lacks its closing quote"));
                };
                let inner = &rest[1..=length];
                if inner.contains(['\\', '\'', '\n']) {
                    return Err(wrong(
                        at..at + length + 2,
                        "a text in an expression has no \\, no ' and is on one line",
                    ));
                }
                (Kind::Text(inner), length + 2)
            }
            _ => {
                let two = rest.get(..2).unwrap_or_default();
                let one = &rest[..first.len_utf8()];
                if ["==", "!=", "<=", ">="].contains(&two) {
                    (Kind::Sign(two), 2)
                } else if two != "**" && two != "//" && "+-*/%()<>,".contains(first) {
                    (Kind::Sign(one), 1)
                } else {
                    let hint = match first {
                        '=' => "; equal is ==",
                        '&' => "; both is `and`",
                        '|' => "; one of two is `or`",
                        '!' => "; the opposite is `not`",
                        _ => "",
                    };
                    return Err(wrong(
                        at..at + one.len(),
                        format!("`{one}` has no meaning in an expression{hint}"),
                    ));
                }
            }
        };
        tokens.push(Token {
            kind,
            at: at..at + length,
        });
        at += length;
    }
    Ok(tokens)
}

fn wrong(at: Range<usize>, message: impl Into<String>) -> Misfit {
    Misfit {
        at,
        message: message.into(),
    }
}
