//! Which pairs of neighbouring values a series has had: a grid of 32 × 32 cells, a bit each, over the range of the series.
//!
//! What was seen lately is kept apart from what is known, so that something new stays new for some time after it began. What is
//! known is two generations, of which the older one goes when a third begins: so old habits are forgotten in constant memory.
//!
//! The grid fits itself to the values: it doubles its cells when one lies outside, and halves them at the beginning of a generation
//! when a half of it would do. A few pairs far outside are kept beside the grid, so that an outlier doesn't blur the rest.

use super::bytes::Input;

/// Cells along each side.
const SIDE: usize = 32;
/// The same for arithmetic.
const SIDE_F: f64 = 32.0;
/// Bitmaps of what was seen lately; the oldest one becomes known when another one is begun.
const RECENT: usize = 4;
/// Pairs beside the grid in each bitmap. One more of what was seen lately is not noted; for one more that is known the grid grows.
const OUTSIDE: usize = 6;
/// At the beginning of a generation cells are halved if what is known is narrower than this.
const NARROW: usize = 14;

/// Cells are not made smaller than this part of the values.
const FINEST: f64 = 1e-6;
/// A map as bytes.
pub(super) const SIZE: usize = 2 * 8 + (2 + RECENT) * (SIDE * 4 + 1 + OUTSIDE * 16);

/// A bit for each cell: the row is the earlier value, the bit the later one.
type Bits = [u32; SIDE];

/// What was seen in some time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    bits: Bits,
    outside: [(f64, f64); OUTSIDE],
    outside_len: usize,
}

/// Which pairs were seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Map {
    /// The lower edge of the grid.
    low: f64,
    /// The side of a cell; 0 before the first value.
    cell: f64,
    /// What is known, of this generation and the one before.
    known: [Seen; 2],
    /// What was seen lately, the newest first.
    recent: [Seen; RECENT],
}

impl Seen {
    const NOTHING: Self = Self {
        bits: [0; SIDE],
        outside: [(0.0, 0.0); OUTSIDE],
        outside_len: 0,
    };

    fn outside(&self) -> &[(f64, f64)] {
        &self.outside[..self.outside_len]
    }

    /// Notes a pair beside the grid; `false` if there is no room.
    fn note(&mut self, pair: (f64, f64)) -> bool {
        let room = self.outside_len < OUTSIDE;
        if room {
            self.outside[self.outside_len] = pair;
            self.outside_len += 1;
        }
        room
    }
}

impl Map {
    /// Nothing seen.
    pub(super) const fn new() -> Self {
        Self {
            low: 0.0,
            cell: 0.0,
            known: [Seen::NOTHING; 2],
            recent: [Seen::NOTHING; RECENT],
        }
    }

    /// Nothing seen, on this grid.
    #[cfg(test)]
    pub(super) const fn with_grid(low: f64, cell: f64) -> Self {
        let mut map = Self::new();
        (map.low, map.cell) = (low, cell);
        map
    }

    /// How far the pair is from the nearest one that is known, as a share of the range that is known; 0 if it is known itself, or nothing is.
    pub(super) fn distance(&self, before: f64, value: f64) -> f64 {
        let Some((first, last)) = self.extent() else {
            return 0.0;
        };
        let magnitude = self
            .value(first as f64)
            .abs()
            .max(self.value((last + 1) as f64).abs());
        // A series that hardly ever moved has no range: a hundredth of its size is taken for one.
        let range = ((last + 1 - first).max(2) as f64).max(0.01 * magnitude / self.cell);
        // In cells, from the middle of the first one.
        let (x, y) = (self.place(before) - 0.5, self.place(value) - 0.5);
        // The last bit at or below y, and all below.
        let below = if y < 0.0 {
            0
        } else {
            u32::MAX >> (31 - (y as u32).min(31))
        };
        let mut best = f64::INFINITY;
        for (row, bits) in self.rows() {
            let across = ((row as f64 - x).abs() - 0.5).max(0.0);
            if bits == 0 || across * across >= best {
                continue;
            }
            for side in [bits & below, bits & !below] {
                if side == 0 {
                    continue;
                }
                let bit = if side & below == 0 {
                    side.trailing_zeros()
                } else {
                    31 - side.leading_zeros()
                };
                let along = ((f64::from(bit) - y).abs() - 0.5).max(0.0);
                best = best.min(across * across + along * along);
            }
        }
        let middle = (first + last + 1) as f64 / 2.0;
        let mut best = best.sqrt() / range;
        for &(before, value) in self.known.iter().flat_map(Seen::outside) {
            let (row, column) = (self.place(before) - 0.5, self.place(value) - 0.5);
            // What lies far outside is as fine as a grid that reached as far.
            let reach = (row - middle).abs().max((column - middle).abs()).max(range);
            let away = (row - x).hypot(column - y) - 2.0 * reach / SIDE_F;
            best = best.min(away.max(0.0) / reach);
        }
        best
    }

    /// Between which values the next one was, when the one before was near this one.
    pub(super) fn after(&self, before: f64) -> Option<(f64, f64)> {
        let x = self.place(before) - 0.5;
        let (_, bits) = self
            .rows()
            .filter(|(_, bits)| *bits != 0)
            .min_by(|(a, _), (b, _)| (*a as f64 - x).abs().total_cmp(&(*b as f64 - x).abs()))?;
        let (first, last) = (bits.trailing_zeros(), 31 - bits.leading_zeros());
        Some((
            self.value(f64::from(first)),
            self.value(f64::from(last) + 1.0),
        ))
    }

    /// Takes a pair in as seen lately.
    pub(super) fn see(&mut self, before: f64, value: f64) {
        if self.cell == 0.0 {
            self.cell = FINEST * value.abs().max(FINEST);
            self.low = value - self.cell * SIDE_F / 2.0;
        }
        match self.at((before, value)) {
            Some((row, bit)) => self.recent[0].bits[row] |= 1 << bit,
            None => {
                // With no room the next ones will tell.
                self.recent[0].note((before, value));
            }
        }
    }

    /// Begins another bitmap of what was seen lately; the oldest one is known from now on.
    pub(super) fn turn(&mut self) {
        let oldest = self.recent[RECENT - 1];
        self.recent.copy_within(..RECENT - 1, 1);
        self.recent[0] = Seen::NOTHING;
        for (known, seen) in self.known[0].bits.iter_mut().zip(oldest.bits) {
            *known |= seen;
        }
        for &pair in oldest.outside() {
            self.know(pair);
        }
    }

    /// Begins another generation: what was known before the last one is forgotten.
    pub(super) fn forget(&mut self) {
        self.known = [Seen::NOTHING, self.known[0]];
        while let Some((first, last)) = self.used()
            && last - first < NARROW
            && self.cell > FINEST * self.low.abs().max(FINEST)
        {
            let from = first.min(SIDE / 2);
            self.low += from as f64 * self.cell;
            self.cell /= 2.0;
            self.each(|bits| *bits = halved(bits, from));
        }
    }

    /// Appends `SIZE` bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.low.to_le_bytes());
        out.extend(self.cell.to_le_bytes());
        for seen in self.known.iter().chain(&self.recent) {
            for bits in seen.bits {
                out.extend(bits.to_le_bytes());
            }
            out.push(u8::try_from(seen.outside_len).unwrap_or(u8::MAX));
            for (before, value) in seen.outside {
                out.extend(before.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
        }
    }

    /// What `write` wrote.
    pub(super) fn read(input: &mut Input<'_>) -> Option<Self> {
        let mut map = Self::new();
        map.low = input.number()?;
        map.cell = input.number().filter(|cell| *cell >= 0.0)?;
        for seen in map.known.iter_mut().chain(&mut map.recent) {
            for bits in &mut seen.bits {
                *bits = input.half()?;
            }
            seen.outside_len = usize::from(input.byte()?);
            if seen.outside_len > OUTSIDE {
                return None;
            }
            for pair in &mut seen.outside {
                *pair = (input.number()?, input.number()?);
            }
        }
        Some(map)
    }

    /// Makes a pair known: in the grid if it takes one doubling at most, else beside it. When there is no more room there the grid
    /// grows to the nearest of them.
    fn know(&mut self, pair: (f64, f64)) {
        if self.doublings(pair) > 1 && self.known[0].note(pair) {
            return;
        }
        let nearest = self.known[0]
            .outside()
            .iter()
            .copied()
            .chain([pair])
            .min_by_key(|pair| self.doublings(*pair))
            .unwrap_or(pair);
        self.grow(nearest.0);
        self.grow(nearest.1);
        let beside = self.known[0];
        self.known[0].outside_len = 0;
        for &pair in beside.outside().iter().chain([&pair]) {
            match self.at(pair) {
                Some((row, bit)) => self.known[0].bits[row] |= 1 << bit,
                None => {
                    // One at least, the nearest, is in the grid now: there is room.
                    self.known[0].note(pair);
                }
            }
        }
    }

    /// How often the cells must double until the grid holds the pair.
    fn doublings(&self, (before, value): (f64, f64)) -> u32 {
        let (low, high) = (before.min(value), before.max(value));
        let side = self.cell * SIDE_F;
        let below = (self.low - low) / side + 1.0;
        let above = (high - self.low) / side;
        // A grid that grows both ways needs one more at most; which is nearest is all that matters.
        below.max(above).max(1.0).log2().ceil() as u32
    }

    /// Doubles the cells until the value lies within the grid.
    fn grow(&mut self, value: f64) {
        loop {
            let place = self.place(value);
            let up = match place {
                _ if place < 0.0 => false,
                _ if place >= SIDE_F => true,
                _ => break,
            };
            if !up {
                self.low -= SIDE_F * self.cell;
            }
            self.cell *= 2.0;
            self.each(|bits| *bits = doubled(bits, up));
        }
    }

    fn at(&self, (before, value): (f64, f64)) -> Option<(usize, u32)> {
        let index = |value: f64| {
            let place = self.place(value);
            (0.0..SIDE_F).contains(&place).then_some(place as u32)
        };
        Some((index(before)? as usize, index(value)?))
    }

    fn place(&self, value: f64) -> f64 {
        (value - self.low) / self.cell
    }

    fn value(&self, place: f64) -> f64 {
        self.low + place * self.cell
    }

    fn rows(&self) -> impl Iterator<Item = (usize, u32)> {
        let [new, old] = &self.known;
        new.bits
            .iter()
            .zip(old.bits)
            .map(|(a, b)| a | b)
            .enumerate()
    }

    /// First and last cell in use by what is known, on either side.
    fn extent(&self) -> Option<(usize, usize)> {
        extent(self.rows())
    }

    /// First and last cell in use at all.
    fn used(&self) -> Option<(usize, usize)> {
        let all = self.rows().map(|(row, known)| {
            let lately = self.recent.iter().map(|seen| seen.bits[row]);
            (row, lately.fold(known, |all, bits| all | bits))
        });
        extent(all)
    }

    fn each(&mut self, change: impl Fn(&mut Bits)) {
        let all = self.known.iter_mut().chain(&mut self.recent);
        all.for_each(|seen| change(&mut seen.bits));
    }
}

fn extent(rows: impl Iterator<Item = (usize, u32)>) -> Option<(usize, usize)> {
    let all = rows.fold(0, |all, (row, bits)| {
        all | bits | if bits == 0 { 0 } else { 1 << row }
    });
    (all != 0).then(|| {
        (
            all.trailing_zeros() as usize,
            31 - all.leading_zeros() as usize,
        )
    })
}

/// The same cells on a grid with cells of twice the side, in its lower half if it grows upwards.
fn doubled(bits: &Bits, up: bool) -> Bits {
    let mut wide = [0; SIDE];
    let offset = if up { 0 } else { SIDE / 2 };
    for (row, bits) in bits.iter().enumerate() {
        wide[offset + row / 2] |= pairs(*bits) << offset;
    }
    wide
}

/// A bit for each two.
const fn pairs(bits: u32) -> u32 {
    let mut bits = (bits | bits >> 1) & 0x5555_5555;
    bits = (bits | bits >> 1) & 0x3333_3333;
    bits = (bits | bits >> 2) & 0x0f0f_0f0f;
    bits = (bits | bits >> 4) & 0x00ff_00ff;
    (bits | bits >> 8) & 0x0000_ffff
}

/// The half of the grid that begins at cell `from`, on cells of half the side.
fn halved(bits: &Bits, from: usize) -> Bits {
    std::array::from_fn(|row| {
        let wide = bits[from + row / 2] >> from;
        (0..SIDE as u32).fold(0, |narrow, bit| narrow | (wide >> (bit / 2) & 1) << bit)
    })
}
