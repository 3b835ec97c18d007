//! A pseudo-terminal in the place of a serial port. The reader opens the slave side and sees what a sensor on a wire
//! would give it: raw bytes, no echo, no translation of line ends.
//!
//! As on a real wire, what is sent while nobody has the port open is gone, and so is the rest of a line that a reader does
//! not fetch within a second. Both are counted as unsent. What the reader writes is read and thrown away.

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Account, TransportError};
use crate::{plan::Message, scenario::Serial};

const PATIENCE: Duration = Duration::from_secs(1);
const DRAIN: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);

/// The master side of a pseudo-terminal, and the link to its slave side.
#[derive(Debug)]
pub struct Pty {
    master: AsyncFd<OwnedFd>,
    path: PathBuf,
    link: Option<PathBuf>,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The reader's side has it.
    All,
    /// Nobody has the port open.
    NobodyListens,
    /// The reader did not fetch it in time; a part may have gone out.
    NotFetched,
}

/// The serial port of one device.
#[derive(Debug)]
pub struct SerialLink {
    config: Serial,
    account: Account,
    pty: Option<Pty>,
    plug_in_at: Instant,
}

impl Pty {
    /// Makes a pseudo-terminal in raw mode, and the link to it. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When there is no pseudo-terminal to be had, or the link can't be made.
    pub fn open(link: Option<&Path>) -> Result<Self, TransportError> {
        let (master, path) = raw_terminal().map_err(|error| TransportError::Pty(error.into()))?;
        #[expect(
            deprecated,
            reason = "sound for an OwnedFd, whose descriptor never changes; the replacement is an unsafe function"
        )]
        let master = AsyncFd::new(master).map_err(TransportError::Pty)?;
        if let Some(link) = link {
            put_link(&path, link)?;
        }
        Ok(Self {
            master,
            path,
            link: link.map(Path::to_owned),
        })
    }

    /// The slave side, such as `/dev/pts/7`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody has the port open. Throws away what they wrote.
    #[must_use]
    pub fn has_reader(&self) -> bool {
        let mut scrap = [0; 512];
        loop {
            match rustix::io::read(self.master.get_ref(), &mut scrap) {
                Ok(1..) | Err(rustix::io::Errno::INTR) => {}
                // The master reads EIO exactly while no slave is open.
                Ok(_) | Err(rustix::io::Errno::IO) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Waits until the reader has fetched what was written, has left, or `patience` is over: closing a pseudo-terminal throws away
    /// what is still in it.
    pub async fn drained(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while self.has_reader() && self.holds_something().await && Instant::now() < until {
            sleep(LOOK).await;
        }
    }

    /// Whether there is something for the reader to fetch, or comes to it within a moment. What was written lies in one buffer of the
    /// kernel after another; only asking whether the slave is readable looks into all of them (`n_tty_poll`), while the count of bytes
    /// that wait (FIONREAD) may be 0 in between.
    async fn holds_something(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(slave) = rustix::fs::open(&self.path, flags, Mode::empty()) else {
            return false;
        };
        #[expect(
            deprecated,
            reason = "sound for an OwnedFd, whose descriptor never changes; the replacement is an unsafe function"
        )]
        let Ok(slave) = AsyncFd::new(slave) else {
            return false;
        };
        timeout(LOOK, slave.readable()).await.is_ok()
    }

    /// Writes all of it, waiting at most a second for a reader that is slow.
    ///
    /// # Errors
    ///
    /// When the terminal is broken.
    pub async fn write(&self, mut bytes: &[u8]) -> Result<Written, TransportError> {
        if !self.has_reader() {
            return Ok(Written::NobodyListens);
        }
        let write = async {
            while !bytes.is_empty() {
                let mut ready = self.master.writable().await?;
                match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                    Ok(Ok(count)) => bytes = bytes.get(count..).unwrap_or_default(),
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(Err(error)) => return Err(error),
                    Err(_would_block) => {}
                }
            }
            Ok(())
        };
        match timeout(PATIENCE, write).await {
            Ok(Ok(())) => Ok(Written::All),
            Ok(Err(error)) => Err(TransportError::Pty(error)),
            Err(_) => Ok(Written::NotFetched),
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if let Some(link) = &self.link
            && std::fs::read_link(link).is_ok_and(|target| target == self.path)
            && let Err(error) = std::fs::remove_file(link)
        {
            tracing::warn!(link = %link.display(), %error, "can't remove the link to a pseudo-terminal");
        }
    }
}

fn raw_terminal() -> rustix::io::Result<(OwnedFd, PathBuf)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    // Open and close the slave once: only then does the master know that nobody listens. The mode stays as set here for
    // as long as the master is open.
    let slave = rustix::fs::open(
        name.as_c_str(),
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut mode = tcgetattr(&slave)?;
    mode.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &mode)?;
    drop(slave);
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((master, PathBuf::from(OsString::from_vec(name.into_bytes()))))
}

/// Puts the link in place in one step, so that it is never missing while it moves to another terminal.
fn put_link(target: &Path, link: &Path) -> Result<(), TransportError> {
    let failed = |source| TransportError::SerialLink {
        path: link.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(link) {
        Ok(there) if !there.is_symlink() => return Err(TransportError::Occupied(link.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = link.parent() {
                std::fs::create_dir_all(folder).map_err(failed)?;
            }
        }
        Err(error) => return Err(failed(error)),
    }
    let mut fresh = link.as_os_str().to_owned();
    fresh.push(format!(".new-{}", std::process::id()));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::os::unix::fs::symlink(target, &fresh).map_err(failed)?;
    std::fs::rename(&fresh, link).map_err(failed)
}

impl SerialLink {
    pub(super) fn open(config: Serial, account: Account) -> Result<Self, TransportError> {
        let mut link = Self {
            config,
            account,
            pty: None,
            plug_in_at: Instant::now(),
        };
        link.plug_in()?;
        Ok(link)
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), TransportError> {
        if self.pty.is_none() && Instant::now() >= self.plug_in_at {
            self.plug_in()?;
        }
        let Some(pty) = &self.pty else {
            self.account.unsent();
            return Ok(());
        };
        let mut line = Vec::with_capacity(message.payload.len() + 1);
        line.extend_from_slice(&message.payload);
        line.push(b'\n');
        match pty.write(&line).await? {
            Written::All => self.account.sent(&self.account.parcel(message))?,
            Written::NobodyListens | Written::NotFetched => self.account.unsent(),
        }
        Ok(())
    }

    /// Unplugs the port between two lines: the last one is still read.
    pub(super) async fn unplug(&mut self, lasts: Duration) {
        self.finish().await;
        self.plug_in_at = Instant::now() + lasts;
        tracing::debug!(device = %self.account.device, "unplugged");
    }

    pub(super) async fn finish(&mut self) {
        if let Some(pty) = self.pty.take() {
            pty.drained(DRAIN).await;
        }
    }

    pub(super) async fn plug_in_before(&mut self, deadline: Instant) -> Result<(), TransportError> {
        if self.pty.is_none() && self.plug_in_at < deadline {
            sleep_until(self.plug_in_at).await;
            self.plug_in()?;
        }
        Ok(())
    }

    fn plug_in(&mut self) -> Result<(), TransportError> {
        let pty = Pty::open(self.config.link.as_deref())?;
        tracing::info!(
            device = %self.account.device,
            port = %pty.path().display(),
            link = self.config.link.as_ref().map(|link| tracing::field::display(link.display())),
            "plugged in"
        );
        self.pty = Some(pty);
        Ok(())
    }
}
