//! A serial line without hardware: a pseudo-terminal behind a symlink, as udev would make it.

use std::{
    fs::File,
    io::Write as _,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

/// The device's end of a serial line.
#[derive(Debug)]
pub struct Line {
    master: Option<File>,
    link: PathBuf,
}

impl Line {
    /// Makes a line whose other end is found under `link`.
    ///
    /// # Panics
    ///
    /// When the system gives no pseudo-terminal.
    #[must_use]
    pub fn plug_in(link: &Path) -> Self {
        let mut line = Self {
            master: None,
            link: link.to_owned(),
        };
        line.plug_in_again();
        line
    }

    /// Comes back as another tty under the same link.
    ///
    /// # Panics
    ///
    /// When the system gives no pseudo-terminal.
    pub fn plug_in_again(&mut self) {
        let master: OwnedFd =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
                .expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let mut settings = tcgetattr(&master).expect("settings");
        settings.make_raw();
        tcsetattr(&master, OptionalActions::Now, &settings).expect("settings");
        let name = ptsname(&master, Vec::new())
            .expect("a name")
            .into_string()
            .expect("a readable name");
        drop(std::fs::remove_file(&self.link));
        std::os::unix::fs::symlink(name, &self.link).expect("a symlink");
        self.master = Some(File::from(master));
    }

    /// Pulls the plug.
    pub fn unplug(&mut self) {
        drop(std::fs::remove_file(&self.link));
        self.master = None;
    }

    /// Another handle of the device's end, for a thread that writes without pause.
    ///
    /// # Panics
    ///
    /// When it is not plugged in.
    #[must_use]
    pub fn master(&self) -> File {
        let master = self.master.as_ref().expect("it is plugged in");
        master.try_clone().expect("a second handle")
    }

    /// Sends bytes.
    ///
    /// # Panics
    ///
    /// When it is not plugged in.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.master
            .as_mut()
            .expect("it is plugged in")
            .write_all(bytes.as_ref())
            .expect("the line takes bytes");
    }
}
