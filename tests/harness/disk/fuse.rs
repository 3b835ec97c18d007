//! The disk as the kernel asks for it. Nothing is cached but pages of open files, so that a power cut is seen at once.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::{
    Failure,
    image::{File, Folder, Image, Kind, Node, ROOT},
};

const UNCACHED: Duration = Duration::ZERO;
const BLOCK: u32 = 4096;
/// What a disk without a limit says of its size.
const ENDLESS: u64 = 1 << 40;

/// What is wrong with it, and how it was used.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) dead: bool,
    pub(super) slow_sync: Duration,
    pub(super) failure: Option<Failure>,
    pub(super) syncs: u64,
    pub(super) written: u64,
    /// Grows when syncs under way are to be forsaken.
    pub(super) forsaken: u64,
    /// Grows with every change from outside, which ends waits.
    changes: u64,
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    faults: Faults,
    /// Open folders, as they were when they were opened.
    listings: HashMap<u64, Vec<(u64, FileType, OsString)>>,
    next_listing: u64,
}

/// The disk, between the test and the threads that serve it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    // std: held for one operation, never while waiting.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Reading,
    Looking,
    Writing,
    Naming,
}

impl Shared {
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Faults, &mut Image) -> T) -> T {
        let mut state = self.lock();
        let State { image, faults, .. } = &mut *state;
        let changed = change(faults, image);
        state.faults.changes += 1;
        self.changed.notify_all();
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk, if it lets this be done now.
    fn for_(&self, doing: Doing) -> Result<MutexGuard<'_, State>, Errno> {
        let state = self.lock();
        let failure = state.faults.failure;
        if state.faults.dead {
            return Err(Errno::EIO);
        }
        match (doing, failure) {
            (Doing::Writing | Doing::Naming, Some(Failure::ReadOnly)) => Err(Errno::EROFS),
            (Doing::Writing, Some(Failure::Writes)) | (Doing::Reading, Some(Failure::Reads)) => {
                Err(Errno::EIO)
            }
            _ => Ok(state),
        }
    }

    fn sync(&self, id: u64) -> Result<(), Errno> {
        let mut state = self.for_(Doing::Looking)?;
        let until = state.image.sequence();
        state.faults.syncs += 1;
        let takes = state.faults.slow_sync;
        if !takes.is_zero() {
            let (before, forsaken) = (state.faults.changes, state.faults.forsaken);
            state = self
                .changed
                .wait_timeout_while(state, takes, |state| {
                    !state.faults.dead
                        && state.faults.forsaken == forsaken
                        && (state.faults.changes == before || !state.faults.slow_sync.is_zero())
                })
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.faults.forsaken != forsaken {
                return Err(Errno::EIO);
            }
        }
        if state.faults.dead {
            return Err(Errno::EIO);
        }
        let lost = state.faults.failure == Some(Failure::Syncs);
        state.image.sync(id, until, lost)?;
        if lost { Err(Errno::EIO) } else { Ok(()) }
    }
}

#[derive(Debug)]
pub(super) struct Fuse {
    shared: Arc<Shared>,
}

impl Fuse {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn entry(&self, made: Result<(u64, FileAttr), Errno>, reply: ReplyEntry) {
        match made {
            Ok((_, attributes)) => reply.entry(&UNCACHED, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn make(
        &self,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        kind: Kind,
    ) -> Result<(u64, FileAttr), Errno> {
        let mut state = self.shared.for_(Doing::Naming)?;
        let id = state.image.make(parent.0, name, mode, kind)?;
        Ok((id, attributes(id, state.image.node(id)?)))
    }

    /// Syncs away from the threads that take requests: it may take long.
    fn sync_aside(&self, id: u64, reply: ReplyEmpty) {
        let shared = Arc::clone(&self.shared);
        if shared.lock().faults.slow_sync.is_zero() {
            answer(shared.sync(id), reply);
        } else {
            std::thread::spawn(move || answer(shared.sync(id), reply));
        }
    }
}

fn answer(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

/// Times are not kept: nothing that is tested here asks for them.
fn attributes(id: u64, node: &Node) -> FileAttr {
    let kind = file_type(node);
    FileAttr {
        ino: INodeNo(id),
        size: node.length(),
        blocks: node.length().div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: u16::try_from(node.mode & 0o7777).unwrap_or(0o644),
        nlink: 1,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

const fn file_type(node: &Node) -> FileType {
    match node.kind {
        Kind::File(_) => FileType::RegularFile,
        Kind::Folder(_) => FileType::Directory,
    }
}

impl Filesystem for Fuse {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.shared.for_(Doing::Looking).and_then(|state| {
            let id = state.image.find(parent.0, name)?;
            Ok((id, attributes(id, state.image.node(id)?)))
        });
        self.entry(found, reply);
    }

    fn getattr(&self, _: &Request, id: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self
            .shared
            .for_(Doing::Looking)
            .and_then(|state| Ok(attributes(id.0, state.image.node(id.0)?)));
        match found {
            Ok(attributes) => reply.attr(&UNCACHED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        id: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = self.shared.for_(Doing::Writing).and_then(|mut state| {
            if let Some(size) = size {
                state.image.set_length(id.0, size)?;
            }
            if let Some(mode) = mode {
                state.image.set_mode(id.0, mode)?;
            }
            Ok(attributes(id.0, state.image.node(id.0)?))
        });
        match done {
            Ok(attributes) => reply.attr(&UNCACHED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let folder = Kind::Folder(Folder::default());
        self.entry(self.make(parent, name, mode & !umask, folder), reply);
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let file = Kind::File(File::default());
        self.entry(self.make(parent, name, mode & !umask, file), reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let file = Kind::File(File::default());
        let made = self
            .make(parent, name, mode & !umask, file)
            .and_then(|(id, attributes)| {
                self.shared.lock().image.opened(id)?;
                Ok(attributes)
            });
        match made {
            Ok(attributes) => reply.created(
                &UNCACHED,
                &attributes,
                Generation(0),
                FileHandle(0),
                FopenFlags::empty(),
            ),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.shared.for_(Doing::Naming);
        answer(
            done.and_then(|mut s| s.image.remove(parent.0, name, false)),
            reply,
        );
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.shared.for_(Doing::Naming);
        answer(
            done.and_then(|mut s| s.image.remove(parent.0, name, true)),
            reply,
        );
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let done = self.shared.for_(Doing::Naming);
        answer(
            done.and_then(|mut s| s.image.rename((parent.0, name), (to.0, new))),
            reply,
        );
    }

    fn open(&self, _: &Request, id: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let done = self.shared.for_(Doing::Looking);
        match done.and_then(|mut state| state.image.opened(id.0)) {
            // Without KEEP_CACHE: the kernel drops its pages of the file.
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        id: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = match self.shared.for_(Doing::Reading) {
            Ok(state) => state,
            Err(error) => return reply.error(error),
        };
        match state.image.file(id.0) {
            Ok(file) => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(file.now.len());
                let end = start.saturating_add(size as usize).min(file.now.len());
                reply.data(&file.now[start..end]);
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        id: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.shared.for_(Doing::Writing).and_then(|mut state| {
            let count = state.image.write(id.0, offset, data)?;
            state.faults.written += count as u64;
            Ok(count)
        });
        match written {
            Ok(count) => reply.written(u32::try_from(count).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        id: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.shared.lock().image.released(id.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, id: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync_aside(id.0, reply);
    }

    fn fsyncdir(&self, _: &Request, id: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync_aside(id.0, reply);
    }

    fn opendir(&self, _: &Request, id: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.shared.for_(Doing::Looking).and_then(|mut state| {
            let mut listing = vec![
                (id.0, FileType::Directory, OsString::from(".")),
                (ROOT, FileType::Directory, OsString::from("..")),
            ];
            for (name, target) in &state.image.folder(id.0)?.now {
                let kind = file_type(state.image.node(*target)?);
                listing.push((*target, kind, name.clone()));
            }
            state.next_listing += 1;
            let handle = state.next_listing;
            state.listings.insert(handle, listing);
            Ok(handle)
        });
        match opened {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = match self.shared.for_(Doing::Looking) {
            Ok(state) => state,
            Err(error) => return reply.error(error),
        };
        let listing = state.listings.get(&handle.0).map_or(&[][..], Vec::as_slice);
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, (id, kind, name)) in listing.iter().enumerate().skip(skip) {
            if reply.add(INodeNo(*id), at as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.shared.lock().listings.remove(&handle.0);
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        id: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let done = self.shared.for_(Doing::Writing).and_then(|mut state| {
            let end = offset.saturating_add(length);
            if end > state.image.node(id.0)?.length() {
                state.image.set_length(id.0, end)?;
            }
            Ok(())
        });
        answer(done, reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let state = self.shared.lock();
        let size = state.image.capacity.unwrap_or(ENDLESS);
        let free = size.saturating_sub(state.image.used());
        let block = u64::from(BLOCK);
        reply.statfs(
            size / block,
            free / block,
            free / block,
            1 << 20,
            1 << 20,
            BLOCK,
            255,
            BLOCK,
        );
    }
}
