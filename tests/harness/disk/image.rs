//! What is on the disk: how it looks now, and how it would be found after a power cut. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::{OsStr, OsString},
};

use fuser::Errno;

use super::Survives;

pub(super) const ROOT: u64 = 1;

/// Numbers changes, so that a sync can take those made before it began.
pub(super) type Sequence = u64;

#[derive(Debug)]
pub(super) struct Image {
    nodes: HashMap<u64, Node>,
    next: u64,
    sequence: Sequence,
    pub(super) capacity: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) mode: u32,
    /// Names that lead here now.
    links: u32,
    opens: u32,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    File(File),
    Folder(Folder),
}

#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(Sequence, Change)>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// What one operation does to names of one folder.
type Names = Vec<(OsString, Option<u64>)>;

#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) now: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
    pending: Vec<(Sequence, Names)>,
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Length(length) => content.resize(*length, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// Torn at multiples of `block`.
    fn torn(&self, block: usize) -> Vec<Self> {
        let Self::Write { offset, bytes } = self else {
            return vec![self.clone()];
        };
        let mut parts = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let end = ((offset + at) / block + 1) * block - offset;
            let end = end.min(bytes.len());
            parts.push(Self::Write {
                offset: offset + at,
                bytes: bytes[at..end].to_vec(),
            });
            at = end;
        }
        parts
    }
}

fn apply_names(names: &Names, to: &mut BTreeMap<OsString, u64>) {
    for (name, target) in names {
        match target {
            Some(target) => to.insert(name.clone(), *target),
            None => to.remove(name),
        };
    }
}

/// xorshift64*: chance that a seed repeats.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }
}

impl Default for Image {
    fn default() -> Self {
        let root = Node::new(0o755, Kind::Folder(Folder::default()), 1);
        Self {
            nodes: HashMap::from([(ROOT, root)]),
            next: ROOT + 1,
            sequence: 0,
            capacity: None,
        }
    }
}

impl Node {
    const fn new(mode: u32, kind: Kind, links: u32) -> Self {
        Self {
            mode,
            links,
            opens: 0,
            kind,
        }
    }

    pub(super) const fn length(&self) -> u64 {
        match &self.kind {
            Kind::File(file) => file.now.len() as u64,
            Kind::Folder(_) => 0,
        }
    }
}

impl Image {
    pub(super) fn used(&self) -> u64 {
        self.nodes
            .values()
            .filter(|node| node.links > 0 || node.opens > 0)
            .map(Node::length)
            .sum()
    }

    fn room(&self) -> u64 {
        self.capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    pub(super) fn node(&self, id: u64) -> Result<&Node, Errno> {
        self.nodes.get(&id).ok_or(Errno::EIO)
    }

    fn node_mut(&mut self, id: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&id).ok_or(Errno::EIO)
    }

    pub(super) fn folder(&self, id: u64) -> Result<&Folder, Errno> {
        match &self.node(id)?.kind {
            Kind::Folder(folder) => Ok(folder),
            Kind::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn folder_mut(&mut self, id: u64) -> Result<&mut Folder, Errno> {
        match &mut self.node_mut(id)?.kind {
            Kind::Folder(folder) => Ok(folder),
            Kind::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn file(&self, id: u64) -> Result<&File, Errno> {
        match &self.node(id)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Folder(_) => Err(Errno::EISDIR),
        }
    }

    fn file_mut(&mut self, id: u64) -> Result<&mut File, Errno> {
        match &mut self.node_mut(id)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Folder(_) => Err(Errno::EISDIR),
        }
    }

    pub(super) fn find(&self, folder: u64, name: &OsStr) -> Result<u64, Errno> {
        let found = self.folder(folder)?.now.get(name);
        found.copied().ok_or(Errno::ENOENT)
    }

    fn change_file(&mut self, id: u64, change: Change) -> Result<(), Errno> {
        self.sequence += 1;
        let sequence = self.sequence;
        let file = self.file_mut(id)?;
        change.apply(&mut file.now);
        file.pending.push((sequence, change));
        Ok(())
    }

    fn change_names(&mut self, folder: u64, names: Names) -> Result<(), Errno> {
        self.sequence += 1;
        let sequence = self.sequence;
        let folder = self.folder_mut(folder)?;
        apply_names(&names, &mut folder.now);
        folder.pending.push((sequence, names));
        Ok(())
    }

    /// How much was written: less than asked for when the disk is filled by it.
    pub(super) fn write(&mut self, id: u64, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let length = self.file(id)?.now.len() as u64;
        let last = offset.saturating_add(bytes.len() as u64);
        let fits = length.saturating_add(self.room()).min(last);
        if fits <= offset {
            return Err(Errno::ENOSPC);
        }
        let count = usize::try_from(fits - offset).map_err(|_| Errno::EFBIG)?;
        let offset = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        let bytes = bytes[..count].to_vec();
        self.change_file(id, Change::Write { offset, bytes })?;
        Ok(count)
    }

    pub(super) fn set_length(&mut self, id: u64, length: u64) -> Result<(), Errno> {
        let now = self.file(id)?.now.len() as u64;
        if length.saturating_sub(now) > self.room() {
            return Err(Errno::ENOSPC);
        }
        let length = usize::try_from(length).map_err(|_| Errno::EFBIG)?;
        self.change_file(id, Change::Length(length))
    }

    pub(super) fn set_mode(&mut self, id: u64, mode: u32) -> Result<(), Errno> {
        self.node_mut(id)?.mode = mode & 0o7777;
        Ok(())
    }

    pub(super) fn make(
        &mut self,
        folder: u64,
        name: &OsStr,
        mode: u32,
        kind: Kind,
    ) -> Result<u64, Errno> {
        if self.folder(folder)?.now.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, Node::new(mode & 0o7777, kind, 1));
        self.change_names(folder, vec![(name.to_owned(), Some(id))])?;
        Ok(id)
    }

    pub(super) fn remove(&mut self, folder: u64, name: &OsStr, empty: bool) -> Result<(), Errno> {
        let id = self.find(folder, name)?;
        match &self.node(id)?.kind {
            Kind::Folder(inner) if empty && inner.now.is_empty() => {}
            Kind::Folder(_) if empty => return Err(Errno::ENOTEMPTY),
            Kind::Folder(_) => return Err(Errno::EISDIR),
            Kind::File(_) if empty => return Err(Errno::ENOTDIR),
            Kind::File(_) => {}
        }
        self.change_names(folder, vec![(name.to_owned(), None)])?;
        self.node_mut(id)?.links -= 1;
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let id = self.find(from.0, from.1)?;
        if let Ok(replaced) = self.find(to.0, to.1) {
            if replaced == id {
                return Ok(());
            }
            if matches!(&self.node(replaced)?.kind, Kind::Folder(folder) if !folder.now.is_empty())
            {
                return Err(Errno::ENOTEMPTY);
            }
            self.node_mut(replaced)?.links -= 1;
        }
        let gone = (from.1.to_owned(), None);
        let here = (to.1.to_owned(), Some(id));
        if from.0 == to.0 {
            // One step: after a cut both or neither.
            return self.change_names(from.0, vec![gone, here]);
        }
        self.change_names(to.0, vec![here])?;
        self.change_names(from.0, vec![gone])
    }

    pub(super) fn opened(&mut self, id: u64) -> Result<(), Errno> {
        self.node_mut(id)?.opens += 1;
        Ok(())
    }

    pub(super) fn released(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.opens = node.opens.saturating_sub(1);
        }
    }

    /// The newest change so far.
    pub(super) const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Makes durable what changed in this file or folder up to `until`; with `lost`, it only seems so.
    pub(super) fn sync(&mut self, id: u64, until: Sequence, lost: bool) -> Result<(), Errno> {
        match &mut self.node_mut(id)?.kind {
            Kind::File(file) => {
                let count = file.pending.partition_point(|(at, _)| *at <= until);
                for (_, change) in file.pending.drain(..count) {
                    if !lost {
                        change.apply(&mut file.durable);
                    }
                }
            }
            Kind::Folder(folder) => {
                let count = folder.pending.partition_point(|(at, _)| *at <= until);
                for (_, names) in folder.pending.drain(..count) {
                    if !lost {
                        apply_names(&names, &mut folder.durable);
                    }
                }
                self.forget_unreachable();
            }
        }
        Ok(())
    }

    /// Drops what neither a name, an open file nor a power cut can bring back.
    fn forget_unreachable(&mut self) {
        let mut named: HashSet<u64> = HashSet::from([ROOT]);
        for node in self.nodes.values() {
            if let Kind::Folder(folder) = &node.kind {
                named.extend(folder.now.values());
                named.extend(folder.durable.values());
                let pending = folder.pending.iter().flat_map(|(_, names)| names);
                named.extend(pending.filter_map(|(_, target)| *target));
            }
        }
        self.nodes
            .retain(|id, node| named.contains(id) || node.opens > 0);
    }

    /// Everything is as a power cut leaves it, under new numbers, so that what was open before stays unusable.
    pub(super) fn power_cut(&mut self, survives: Survives) {
        let mut chance = match survives {
            Survives::Nothing => None,
            Survives::Part { seed } => Some(Chance(seed ^ 0x9E37_79B9_7F4A_7C15 | 1)),
        };
        let block = match chance.as_mut().map(|chance| chance.below(2)) {
            Some(0) => 512,
            _ => 4096,
        };
        // Of 8 changes so many survive: from hardly any to nearly all.
        let share = chance.as_mut().map_or(0, |chance| 1 + chance.below(7));
        let mut ids: Vec<u64> = self.nodes.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(node) = self.nodes.get_mut(&id) else {
                continue;
            };
            match &mut node.kind {
                Kind::File(file) => {
                    if let Some(chance) = &mut chance {
                        let mut parts: Vec<Change> = file
                            .pending
                            .iter()
                            .flat_map(|(_, change)| change.torn(block))
                            .filter(|_| chance.below(8) < share)
                            .collect();
                        for at in (1..parts.len()).rev() {
                            let other = usize::try_from(chance.below(at as u64 + 1)).unwrap_or(at);
                            parts.swap(at, other);
                        }
                        parts.iter().for_each(|part| part.apply(&mut file.durable));
                    }
                    file.pending.clear();
                    file.now.clone_from(&file.durable);
                }
                Kind::Folder(folder) => {
                    for (_, names) in std::mem::take(&mut folder.pending) {
                        if chance.as_mut().is_some_and(|c| c.below(8) < share) {
                            apply_names(&names, &mut folder.durable);
                        }
                    }
                    folder.now.clone_from(&folder.durable);
                }
            }
        }
        self.renumber();
    }

    fn renumber(&mut self) {
        let mut old = std::mem::take(&mut self.nodes);
        let mut waiting = vec![(ROOT, ROOT)];
        while let Some((was, is)) = waiting.pop() {
            let Some(mut node) = old.remove(&was) else {
                continue;
            };
            if let Kind::Folder(folder) = &mut node.kind {
                // A second name of a file that is placed already, left over from half a rename, goes.
                folder.now.retain(|_, target| old.contains_key(target));
                for target in folder.now.values_mut() {
                    let new = self.next;
                    self.next += 1;
                    waiting.push((*target, new));
                    *target = new;
                }
                folder.durable.clone_from(&folder.now);
            }
            node.links = 1;
            node.opens = 0;
            self.nodes.insert(is, node);
        }
    }
}
