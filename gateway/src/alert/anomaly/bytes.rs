//! A detector as bytes and back, exactly. A version first; what cannot be a detector is none, and is learned anew.

use super::{
    Detector, Mark,
    map::{Map, SIZE},
};
use crate::model::Timestamp;

/// Of this layout.
const VERSION: u8 = 1;

impl Detector {
    /// As bytes of this many.
    pub const BYTES: usize = 1 + 11 * 8 + 1 + SIZE;

    /// Everything that is learned.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES);
        out.push(VERSION);
        let uneasy = self.uneasy.unwrap_or(self.turned);
        for word in [
            self.seen,
            self.first.0.cast_unsigned(),
            self.last.0.cast_unsigned(),
            self.value.to_bits(),
            self.step.to_bits(),
        ] {
            out.extend(word.to_le_bytes());
        }
        for mark in [self.turned, self.forgot, uneasy] {
            out.extend(mark.reading.to_le_bytes());
            out.extend(mark.at.0.to_le_bytes());
        }
        out.push(u8::from(self.uneasy.is_some()));
        self.map.write(&mut out);
        out
    }

    /// What `to_bytes` wrote; `None` if it is something else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        if input.byte()? != VERSION {
            return None;
        }
        let seen = input.word()?;
        let (first, last) = (input.time()?, input.time()?);
        let (value, step) = (input.number()?, input.number()?);
        let mut mark = || {
            Some(Mark {
                reading: input.word()?,
                at: input.time()?,
            })
        };
        let (turned, forgot, uneasy) = (mark()?, mark()?, mark()?);
        let uneasy = (input.byte()? == 1).then_some(uneasy);
        let map = Map::read(&mut input)?;
        input.0.is_empty().then_some(Self {
            map,
            seen,
            first,
            last,
            value,
            step,
            turned,
            forgot,
            uneasy,
        })
    }
}

/// Bytes that are not read yet.
pub(in crate::alert) struct Input<'a>(pub(in crate::alert) &'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(in crate::alert) fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(in crate::alert) fn half(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(in crate::alert) fn word(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(in crate::alert) fn time(&mut self) -> Option<Timestamp> {
        self.take().map(i64::from_le_bytes).map(Timestamp)
    }

    /// A number that is one.
    pub(in crate::alert) fn number(&mut self) -> Option<f64> {
        self.word().map(f64::from_bits).filter(|n| n.is_finite())
    }
}
