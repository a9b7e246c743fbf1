//! Counters of cold days as Parquet files, in a folder or a bucket: a file a day, merged into months
//! and years.

mod file;
pub(super) mod manifest;
mod merged;
mod published;
mod reader;
mod schema;
mod writer;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::ports::{ColdCounters, ColdRows, ErrorKind, PortError};
use model::{Day, Summary};
use parking_lot::Mutex;
use parquet::errors::ParquetError;

use self::file::{Chunks, OpenFile};
use self::manifest::{Entry, Manifest, date};
use self::merged::Merged;
use self::published::{Published, Writers};
use self::reader::Rows;
use self::writer::{ColdWriter, DayRow, FORMAT};
use super::objects::Objects;
use super::raw::claim::Claim;
use super::raw::writer::port_error;
use super::version;

/// For so long files that other processes may still read stay after they were replaced: these hear of new
/// files within seconds, and a question takes seconds.
const STAYS_FOR: Duration = Duration::from_secs(180);

/// Letters of a date that name its month, and its year.
const MONTH: usize = 7;
const YEAR: usize = 4;

/// Counters of cold days as Parquet files below `counters/`.
pub struct ColdFiles {
    objects: Objects,
    claim: Claim,
    reserve_bytes: u64,
    published: Published,
    /// Files that were named by this process.
    named: AtomicU64,
    /// Files of the manifest that a question has opened.
    open: Mutex<HashMap<String, Arc<Opened>>>,
    leaving: Mutex<Leaving>,
    /// Files of the manifest that were found to be of the version that is known here.
    fit: Mutex<HashSet<String>>,
}

/// Objects that the manifest names no more. They stay for one more turn of merging, and where other processes
/// read them for a while longer: a question may have found them just before.
#[derive(Default)]
struct Leaving {
    now: Vec<String>,
    next: Vec<(String, Instant)>,
    /// Whether it was looked for what a process before left.
    is_listed: bool,
}

struct Opened {
    name: String,
    chunks: Chunks,
    file: OpenFile,
}

impl ColdFiles {
    /// Files in an archive that belongs to `owner`, the random name of a data folder; a folder keeps
    /// `reserve_bytes` of its file system free. Nothing is read or written yet.
    pub fn new(objects: Objects, owner: &str, reserve_bytes: u64) -> Self {
        Self::written_by(Writers::ThisAlone, objects, owner, reserve_bytes)
    }

    /// As [`Self::new`], in an archive that several processes write to for the same `owner`, any of which may
    /// think that it is its turn. `process` tells the names of their files apart: random.
    pub fn sharing(objects: Objects, owner: &str, reserve_bytes: u64, process: u64) -> Self {
        Self::written_by(Writers::Many(process), objects, owner, reserve_bytes)
    }

    /// Files that other processes write, and this one only reads.
    pub fn reading(objects: Objects) -> Self {
        Self::written_by(Writers::Others, objects, "", 0)
    }

    fn written_by(writers: Writers, objects: Objects, owner: &str, reserve_bytes: u64) -> Self {
        let (claim, published) = (Claim::new(owner), Published::new(writers));
        let (named, open, leaving, fit) = Default::default();
        Self { objects, claim, reserve_bytes, published, named, open, leaving, fit }
    }

    fn manifest(&self) -> Result<Arc<Manifest>, PortError> {
        let manifest = self.published.get(&self.objects)?;
        let mut fit = self.fit.lock();
        fit.retain(|name| manifest.files.iter().any(|entry| entry.name == *name));
        for entry in &manifest.files {
            if !fit.contains(&entry.name) {
                self.check_version(entry)?;
                fit.insert(entry.name.clone());
            }
        }
        drop(fit);
        Ok(manifest)
    }

    /// The name of a new file. Where others write too it is never that of one of theirs: who stood still in
    /// the middle of a day would else put a part of it in the place of the whole.
    fn name(&self, stem: &str) -> String {
        match self.published.writers() {
            Writers::Many(process) => {
                let number = self.named.fetch_add(1, Ordering::Relaxed);
                format!("{stem}-{process:016x}{number:x}")
            }
            Writers::ThisAlone | Writers::Others => stem.to_owned(),
        }
    }

    /// Refuses a file of a later program, before anything is asked of it.
    fn check_version(&self, entry: &Entry) -> Result<(), PortError> {
        let object = entry.object();
        match file::other_version(&self.objects, &object, entry.bytes) {
            Ok(Some(version)) => Err(version::refused(&self.place_of(&object), &version, FORMAT)),
            // What cannot be read is said to those who ask for it: all the rest is there.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Replaces the manifest, durable when it returns.
    fn publish(&self, change: impl FnOnce(&mut Manifest)) -> Result<(), PortError> {
        let before = self.manifest()?;
        let mut manifest = (*before).clone();
        change(&mut manifest);
        self.published.replace(&self.objects, manifest.clone())?;
        let is_named = |name: &String, _: &mut Arc<Opened>| {
            manifest.files.iter().any(|entry| entry.name == *name)
        };
        self.open.lock().retain(is_named);
        let is_replaced = |entry: &&Entry| manifest.files.iter().all(|e| e.name != entry.name);
        let now = Instant::now();
        let replaced = before.files.iter().filter(is_replaced).map(|entry| (entry.object(), now));
        self.leaving.lock().next.extend(replaced);
        Ok(())
    }

    /// Writes rows in the order of a file.
    fn write_file(
        &self,
        name: &str,
        days: Range<Day>,
        next: &mut dyn FnMut() -> Result<Option<DayRow>, PortError>,
    ) -> Result<Entry, PortError> {
        self.claim.take(&self.objects)?;
        self.objects.check_room(self.reserve_bytes)?;
        let object = manifest::object(name);
        let failed = |error| port_error(error, || format!("cannot write {object}"));
        let mut writer = ColdWriter::new(self.objects.upload(&object)?).map_err(failed)?;
        while let Some(row) = next()? {
            writer.push(row).map_err(failed)?;
        }
        let (upload, _) = writer.finish().map_err(failed)?;
        upload.finish()?;
        let gone = || self.damaged(&object, "it has gone as soon as it was written");
        let bytes = self.objects.size(&object)?.ok_or_else(gone)?;
        // One of the same name that was read before may have been another.
        self.open.lock().remove(name);
        Ok(Entry { name: name.to_owned(), first: days.start, end: days.end, bytes })
    }

    fn opened(&self, entry: &Entry) -> Result<Arc<Opened>, PortError> {
        if let Some(open) = self.open.lock().get(&entry.name) {
            return Ok(open.clone());
        }
        let (chunks, file) = file::open(&self.objects, &entry.object(), entry.bytes)
            .map_err(|error| self.unreadable(&entry.object(), error))?;
        let opened = Arc::new(Opened { name: entry.object(), chunks, file });
        self.open.lock().insert(entry.name.clone(), opened.clone());
        Ok(opened)
    }

    /// The open files that can hold days of a range.
    fn files(&self, days: &Range<u32>) -> Result<Vec<Arc<Opened>>, PortError> {
        let manifest = self.manifest()?;
        manifest.files.iter().filter(|e| e.overlaps(days)).map(|e| self.opened(e)).collect()
    }

    /// What is there in one file for so much of a date, where it is over and in several files.
    fn merge_alike(&self, letters: usize, kind: &str, before: Day) -> Result<bool, PortError> {
        let manifest = self.manifest()?;
        let now = date(before);
        let mut groups: Vec<(String, Vec<&Entry>)> = Vec::new();
        for entry in &manifest.files {
            let key: String = date(entry.first).chars().take(letters).collect();
            match groups.last_mut().filter(|(last, _)| *last == key) {
                Some((_, entries)) => entries.push(entry),
                None => groups.push((key, vec![entry])),
            }
        }
        let is_over = |key: &str| now.get(..letters).is_some_and(|now| key < now);
        let found = groups.iter().find(|(key, entries)| entries.len() > 1 && is_over(key));
        let Some((key, entries)) = found else { return Ok(false) };
        let files =
            entries.iter().map(|entry| self.opened(entry)).collect::<Result<Vec<_>, _>>()?;
        let mut merged = Merged::new(self, &files)?;
        let days = entries[0].first..entries[entries.len() - 1].end;
        let name = self.name(&format!("{kind}-{key}"));
        let entry = self.write_file(&name, days, &mut || merged.next_row())?;
        tracing::info!(name, files = files.len(), "cold files were merged");
        self.publish(|manifest| manifest.replace(entry))?;
        Ok(true)
    }

    /// Removes files that were merged in the turn before, or by a process before.
    fn sweep(&self) -> Result<(), PortError> {
        let manifest = self.manifest()?;
        if manifest.files.is_empty() {
            return Ok(());
        }
        let is_listed = self.leaving.lock().is_listed;
        if !is_listed {
            let is_named = |name: &String| manifest.files.iter().any(|e| e.object() == *name);
            let found = self.objects.list(manifest::FOLDER)?.into_iter().map(|object| object.name);
            let unnamed = found.filter(|name| name.ends_with(".parquet") && !is_named(name));
            let unnamed: Vec<String> = unnamed.collect();
            if self.published.writers() != Writers::ThisAlone && !unnamed.is_empty() {
                // Whoever is about to name one of them works from an older manifest, and fails from now on.
                self.publish(|_| {})?;
            }
            let now = Instant::now();
            let mut leaving = self.leaving.lock();
            leaving.next.extend(unnamed.into_iter().map(|name| (name, now)));
            leaving.is_listed = true;
        }
        let mut leaving = self.leaving.lock();
        while let Some(name) = leaving.now.pop() {
            if let Err(error) = self.objects.delete(&name) {
                leaving.now.push(name);
                return Err(error);
            }
        }
        let stays = |(_, since): &(String, Instant)| {
            self.published.writers() != Writers::ThisAlone && since.elapsed() < STAYS_FOR
        };
        let (next, now) = std::mem::take(&mut leaving.next).into_iter().partition(stays);
        let now: Vec<(String, Instant)> = now;
        leaving.next = next;
        leaving.now = now.into_iter().map(|(name, _)| name).collect();
        Ok(())
    }

    fn unreadable(&self, name: &str, error: ParquetError) -> PortError {
        if self.published.writers() != Writers::ThisAlone {
            // Somebody else may have replaced it meanwhile.
            self.published.forget();
        }
        // What the place said stays as it was; anything else is the file's.
        match port_error(error, || format!("{}/{name} cannot be read", self.objects.place())) {
            error if error.kind == ErrorKind::Invalid => {
                PortError { kind: ErrorKind::Corrupt, ..error }
            }
            error => error,
        }
    }

    fn place_of(&self, name: &str) -> String {
        format!("{}/{name}", self.objects.place())
    }

    fn damaged(&self, name: &str, what: &str) -> PortError {
        damaged(&self.objects, name, what)
    }
}

fn damaged(objects: &Objects, name: &str, what: &str) -> PortError {
    let context =
        format!("{}/{name} is damaged: {what}; restore the archive from a backup", objects.place());
    PortError::new(ErrorKind::Corrupt, context)
}

impl ColdCounters for ColdFiles {
    fn refresh(&self) -> Result<bool, PortError> {
        if self.published.writers() == Writers::ThisAlone {
            return Ok(false);
        }
        self.published.forget();
        self.manifest().map(|_| true)
    }

    fn until(&self) -> Result<Day, PortError> {
        Ok(self.manifest()?.until)
    }

    fn write(&self, day: Day, rows: &mut ColdRows<'_>) -> Result<(), PortError> {
        let mut next = || {
            let row = rows.next().transpose()?;
            Ok(row.map(|row| DayRow {
                event_type: row.event_type,
                item: row.item,
                day,
                summary: row.summary,
            }))
        };
        let name = self.name(&format!("day-{}", date(day)));
        let entry = self.write_file(&name, day..Day(day.0 + 1), &mut next)?;
        self.publish(|manifest| manifest.replace(entry))
    }

    fn seal(&self, until: Day) -> Result<(), PortError> {
        self.claim.take(&self.objects)?;
        self.publish(|manifest| manifest.until = manifest.until.max(until))
    }

    fn merge(&self, before: Day) -> Result<bool, PortError> {
        if self.merge_alike(MONTH, "month", before)? || self.merge_alike(YEAR, "year", before)? {
            return Ok(true);
        }
        self.sweep().map(|()| false)
    }

    fn scan_item(
        &self,
        item: &str,
        event_type: &str,
        days: Range<u32>,
        each: &mut dyn FnMut(Day, &Summary),
    ) -> Result<(), PortError> {
        for open in self.files(&days)? {
            let mut within = |day: Day, summary: &Summary| {
                if days.contains(&day.0) {
                    each(day, summary);
                }
            };
            reader::find(&open.chunks, &open.file, (event_type, item), &mut within)
                .map_err(|error| self.unreadable(&open.name, error))?;
        }
        Ok(())
    }

    fn scan_type(
        &self,
        event_type: &str,
        days: Range<u32>,
        each: &mut dyn FnMut(&str, &Summary),
    ) -> Result<(), PortError> {
        for open in self.files(&days)? {
            scan_file(&open, event_type, &days, each)
                .map_err(|error| self.unreadable(&open.name, error))?;
        }
        Ok(())
    }
}

fn scan_file(
    open: &Opened,
    event_type: &str,
    days: &Range<u32>,
    each: &mut dyn FnMut(&str, &Summary),
) -> Result<(), ParquetError> {
    use parquet::file::reader::FileReader;
    for group in 0..open.file.num_row_groups() {
        if !reader::may_hold(&open.chunks, &open.file, group, event_type, None)? {
            continue;
        }
        let mut rows = Rows::of(&open.file, group..group + 1);
        while let Some(row) = rows.next_row()? {
            if row.event_type == event_type && days.contains(&row.day.0) {
                each(&row.item, &row.summary);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
