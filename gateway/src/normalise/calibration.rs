//! The correction of a sensor's values: a table first, whose rows are in what the sensor says, then gain and offset.

use super::Calibration;

/// The corrected value, and whether it lies outside the table.
pub(super) fn apply(calibration: &Calibration, measured: f64) -> (f64, bool) {
    let (value, outside) = through_table(&calibration.table, measured);
    (value * calibration.gain + calibration.offset, outside)
}

fn through_table(table: &[(f64, f64)], measured: f64) -> (f64, bool) {
    let (Some(&first), Some(&last)) = (table.first(), table.last()) else {
        return (measured, false);
    };
    if measured < first.0 {
        return (measured + first.1 - first.0, true);
    }
    if measured > last.0 {
        return (measured + last.1 - last.0, true);
    }
    let above = table.partition_point(|row| row.0 <= measured);
    match (table.get(above.wrapping_sub(1)), table.get(above)) {
        (Some(&(x0, y0)), Some(&(x1, y1))) if x1 > x0 => {
            (y0 + (measured - x0) * (y1 - y0) / (x1 - x0), false)
        }
        // Exactly on the last row.
        (Some(&(x0, y0)), _) => (measured + y0 - x0, false),
        (None, _) => (measured, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(f64, f64)]) -> Calibration {
        Calibration {
            series: "*/*".into(),
            gain: 1.0,
            offset: 0.0,
            table: rows.to_vec(),
        }
    }

    #[test]
    fn between_two_rows_the_line_through_them_counts() {
        let rows = table(&[(0.0, 1.0), (10.0, 21.0), (20.0, 21.0)]);
        for (measured, expected) in [
            (0.0, 1.0),
            (5.0, 11.0),
            (10.0, 21.0),
            (15.0, 21.0),
            (20.0, 21.0),
        ] {
            assert_eq!(apply(&rows, measured), (expected, false), "at {measured}");
        }
    }

    #[test]
    fn outside_the_table_the_nearest_row_corrects_and_says_so() {
        let rows = table(&[(0.0, 1.0), (10.0, 12.0)]);
        assert_eq!(apply(&rows, -5.0), (-4.0, true));
        assert_eq!(apply(&rows, 11.0), (13.0, true));
    }

    #[test]
    fn gain_and_offset_come_after_the_table() {
        let both = Calibration {
            gain: 2.0,
            offset: 0.5,
            ..table(&[(1.0, 2.0), (3.0, 4.0)])
        };
        assert_eq!(apply(&both, 2.0), (6.5, false));
    }
}
