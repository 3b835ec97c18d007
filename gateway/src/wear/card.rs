//! How long a card lasts, and what an eMMC says of itself.
//!
//! The model: what reaches the card in a day is what the process writes plus [`SYNC_COST`] for each sync of a file that became longer or new, and the card
//! lasts for `endurance` of it, the "terabytes written" (TBW) of its data sheet. No endurance is assumed: makers' figures for
//! cards of one size lie more than a factor of ten apart, so without one there is no estimate.
//!
//! What a sync costs beside its bytes: ext4 commits its own journal with each fdatasync(2) that made a file longer (a descriptor,
//! the inode's block and a commit block, 4 KiB each); `tests/run bench writes` measures it on a real ext4. The card then writes whole
//! flash pages and moves whole erase blocks about, so writes of a few KiB wear it out faster than the long ones that
//! data sheets are measured with (A. Bergmann, "Optimizing Linux with cheap flash drives", <https://lwn.net/Articles/428584/>);
//! how much faster depends on the card and is not in this model. So the estimate is rather too long than too short.
//!
//! An eMMC measures its own wear (JESD84-B50, `EXT_CSD` fields 267 to 269); Linux shows it as `life_time` and `pre_eol_info`
//! (`Documentation/driver-api/mmc/mmc-dev-attrs.rst`). SD cards have no such thing.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{major, minor};
use serde::Serialize;

/// Bytes that a sync of a file that became longer costs beside what it writes: the three blocks of ext4's journal.
pub const SYNC_COST: u64 = 3 * 4096;
const DAYS_A_YEAR: f64 = 365.25;

/// What is known of the card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Bytes that can be written to it in its life, from its data sheet (TBW). Default: not known.
    pub endurance: Option<u64>,
}

/// For the status page.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CardStatus {
    /// As configured.
    pub endurance_bytes: Option<u64>,
    /// How long that lasts at this rate; `None` without an endurance or a rate.
    pub card_life_years: Option<f64>,
    /// What the device says of itself, if it is one that does.
    pub device: Option<DeviceStatus>,
}

/// An eMMC's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceStatus {
    /// `mmcblk0`.
    pub name: String,
    /// How much of its life is used at most, in percent: the worse of its two kinds of memory, in steps of 10.
    pub life_used_percent: Option<u8>,
    /// Of its reserve blocks: `normal` (less than 80 % used), `warning` (80 %), `urgent` (90 %).
    pub spare: Option<&'static str>,
}

impl Config {
    pub(super) fn status(&self, dir: &Path, per_day: Option<(u64, u64)>) -> CardStatus {
        CardStatus {
            endurance_bytes: self.endurance,
            card_life_years: self
                .endurance
                .zip(per_day)
                .and_then(|(endurance, (bytes, syncs))| {
                    years(
                        endurance,
                        bytes.saturating_add(syncs.saturating_mul(SYNC_COST)),
                    )
                }),
            device: device_below(dir).and_then(|device| read(&device)),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn years(endurance: u64, per_day: u64) -> Option<f64> {
    let years = endurance as f64 / per_day as f64 / DAYS_A_YEAR;
    // Beyond a century it says nothing but "long".
    (per_day > 0).then(|| (years.min(100.0) * 10.0).round() / 10.0)
}

/// The whole device that a folder lies on, as a folder of `/sys`.
fn device_below(dir: &Path) -> Option<PathBuf> {
    let id = std::fs::metadata(dir).ok()?.dev();
    let link = format!("/sys/dev/block/{}:{}", major(id), minor(id));
    let block = std::fs::canonicalize(link).ok()?;
    // A partition lies in the folder of its device.
    if block.join("partition").exists() {
        block.parent().map(Path::to_owned)
    } else {
        Some(block)
    }
}

fn read(device: &Path) -> Option<DeviceStatus> {
    let text = |name: &str| std::fs::read_to_string(device.join("device").join(name)).ok();
    let number = |word: &str| u8::from_str_radix(word.trim().strip_prefix("0x")?, 16).ok();
    let life = text("life_time");
    let spare = text("pre_eol_info");
    if life.is_none() && spare.is_none() {
        return None;
    }
    let worst = life.and_then(|life| life.split_whitespace().filter_map(number).max());
    Some(DeviceStatus {
        name: device.file_name()?.to_string_lossy().into_owned(),
        // 1 is 0 to 10 %, 11 is "exceeded"; 0 is not defined.
        life_used_percent: worst.filter(|n| (1..=11).contains(n)).map(|n| n * 10),
        spare: spare.as_deref().and_then(number).and_then(|n| match n {
            1 => Some("normal"),
            2 => Some("warning"),
            3 => Some("urgent"),
            _ => None,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_lasts_as_long_as_its_endurance_and_syncs_cost_too() {
        let config = Config {
            endurance: Some(30_000_000_000_000),
        };
        let years = |bytes, syncs| {
            config
                .status(Path::new("/"), Some((bytes, syncs)))
                .card_life_years
        };
        assert_eq!(years(1_000_000_000, 0), Some(82.1));
        assert_eq!(years(1_000_000_000, 86_400), Some(39.8));
        assert_eq!(years(0, 0), None, "nothing written says nothing");
        assert_eq!(years(1, 0), Some(100.0));
        assert_eq!(
            Config::default()
                .status(Path::new("/"), Some((1, 1)))
                .card_life_years,
            None
        );
    }

    #[test]
    fn an_emmc_says_how_worn_it_is_and_other_devices_say_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("mmcblk0");
        std::fs::create_dir_all(device.join("device")).unwrap();
        assert_eq!(read(&device), None);
        std::fs::write(device.join("device/life_time"), "0x02 0x0b\n").unwrap();
        std::fs::write(device.join("device/pre_eol_info"), "0x02\n").unwrap();
        let worn = DeviceStatus {
            name: String::from("mmcblk0"),
            life_used_percent: Some(110),
            spare: Some("warning"),
        };
        assert_eq!(read(&device), Some(worn));
        std::fs::write(device.join("device/life_time"), "0x00 0x00\n").unwrap();
        assert_eq!(read(&device).unwrap().life_used_percent, None);
    }
}
