//! Who is making a run. A lease keeps two workers from the same work; that records stay whole does not depend on it.
//!
//! It is a file that its holder touches again and again. Its age is told by the file system's clock alone, so the machines'
//! own clocks may differ.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

/// Between looks at the signals.
const LOOK: Duration = Duration::from_millis(50);

/// A run that this process may make.
pub struct Lease {
    path: PathBuf,
    /// What the file holds while it is ours.
    holder: String,
    ended: Arc<AtomicBool>,
    lost: Arc<AtomicBool>,
    beat: Option<JoinHandle<()>>,
}

impl Lease {
    /// Takes the lease at `path` for `holder`, or says who has it. One that was not touched for `longest` is nobody's.
    /// While it is held, `stop` is set when `signal` is, or when it is lost.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn take(
        path: &Path,
        holder: &str,
        longest: Duration,
        signal: &Arc<AtomicBool>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Result<Self, String>> {
        let at = || path.display().to_string();
        let own = path.with_extension(holder);
        fs::write(&own, holder).with_context(at)?;
        let taken = claim(path, &own, longest).with_context(at);
        fs::remove_file(&own).ok();
        if let Some(other) = taken? {
            return Ok(Err(other));
        }
        let mut lease = Self {
            path: path.to_owned(),
            holder: holder.to_owned(),
            ended: Arc::default(),
            lost: Arc::default(),
            beat: None,
        };
        lease.beat = Some(lease.keep(longest / 4, signal.clone(), stop.clone()));
        Ok(Ok(lease))
    }

    /// Touches the file from time to time, until the lease ends or is lost.
    fn keep(
        &self,
        every: Duration,
        signal: Arc<AtomicBool>,
        stop: Arc<AtomicBool>,
    ) -> JoinHandle<()> {
        let (path, holder) = (self.path.clone(), self.holder.clone());
        let (ended, lost) = (self.ended.clone(), self.lost.clone());
        thread::spawn(move || {
            let mut since = Duration::ZERO;
            while !ended.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
                since += LOOK;
                if signal.load(Ordering::Relaxed) {
                    stop.store(true, Ordering::Relaxed);
                }
                if since >= every {
                    since = Duration::ZERO;
                    if !touch(&path, &holder) {
                        lost.store(true, Ordering::Relaxed);
                        stop.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            }
        })
    }

    /// Whether it is still ours.
    pub fn is_held(&self) -> bool {
        !self.lost.load(Ordering::Relaxed) && touch(&self.path, &self.holder)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(beat) = self.beat.take() {
            beat.join().ok();
        }
        if held_by(&self.path).is_some_and(|holder| holder == self.holder) {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Who holds a lease.
fn held_by(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Makes a lease younger, if it is the holder's.
fn touch(path: &Path, holder: &str) -> bool {
    if held_by(path).as_deref() != Some(holder) {
        return false;
    }
    let file = OpenOptions::new().write(true).open(path);
    file.is_ok_and(|mut file| file.write_all(holder.as_bytes()).is_ok())
}

/// Links `own` to `path` where nobody is there, or nobody alive; else says who is.
fn claim(path: &Path, own: &Path, longest: Duration) -> std::io::Result<Option<String>> {
    for _ in 0..3 {
        match fs::hard_link(own, path) {
            Ok(()) => return Ok(None),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        let (holder, age) = (held_by(path), age(path, own)?);
        if age.is_none_or(|age| age < longest) {
            return Ok(Some(holder.unwrap_or_default()));
        }
        // Only one of those who see it can move it away. Who moved one that was just taken anew puts it back.
        let mut away = own.as_os_str().to_owned();
        away.push("-old");
        let away = Path::new(&away);
        if fs::rename(path, away).is_ok() {
            if held_by(away) != holder {
                fs::hard_link(away, path).ok();
            }
            fs::remove_file(away)?;
        }
    }
    Ok(Some(held_by(path).unwrap_or_default()))
}

/// How long ago `path` was written; none where it is gone. `own` is written to learn the file system's time.
fn age(path: &Path, own: &Path) -> std::io::Result<Option<Duration>> {
    let text = fs::read(own)?;
    let mut file = File::create(own)?;
    file.write_all(&text)?;
    let now = file.metadata()?.modified()?;
    let then: Option<SystemTime> = fs::metadata(path)
        .ok()
        .and_then(|about| about.modified().ok());
    Ok(then.map(|then| now.duration_since(then).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(400);

    fn take(path: &Path, holder: &str) -> Result<Lease, String> {
        let [signal, stop] = [(); 2].map(|()| Arc::default());
        Lease::take(path, holder, LONGEST, &signal, &stop).unwrap()
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_lease_is_held_by_one_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lease");
        let first = take(&path, "first").unwrap();
        assert_eq!(take(&path, "second").err(), Some("first".into()));
        // It is touched, so it does not grow old.
        thread::sleep(2 * LONGEST);
        assert_eq!(take(&path, "second").err(), Some("first".into()));
        assert!(first.is_held());
        drop(first);
        assert_eq!(files(folder.path()), 0);
        let second = take(&path, "second").unwrap();
        assert_eq!(files(folder.path()), 1);
        drop(second);
    }

    #[test]
    fn one_that_nobody_touches_is_taken_and_its_holder_learns_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lease");
        fs::write(&path, "dead").unwrap();
        assert_eq!(take(&path, "other").err(), Some("dead".into()));
        thread::sleep(LONGEST);
        let [signal, stop] = [(); 2].map(|()| Arc::<AtomicBool>::default());
        let lease = Lease::take(&path, "living", LONGEST, &signal, &stop).unwrap();
        let lease = lease.unwrap();
        assert_eq!(held_by(&path), Some("living".into()));
        // Somebody else takes it, as after a suspension.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "other").unwrap();
        thread::sleep(LONGEST);
        assert!(stop.load(Ordering::Relaxed) && !lease.is_held());
        drop(lease);
        assert_eq!(held_by(&path), Some("other".into()));
    }

    #[test]
    fn of_many_who_want_an_old_one_one_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lease");
        for _ in 0..20 {
            fs::write(&path, "dead").unwrap();
            let old = SystemTime::now() - 10 * LONGEST;
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(old)
                .unwrap();
            let path = &path;
            let got = thread::scope(|scope| {
                let takers = (0..8).map(|n| scope.spawn(move || take(path, &format!("t{n}")).ok()));
                let takers: Vec<_> = takers.collect();
                let got = takers.into_iter().filter_map(|taker| taker.join().unwrap());
                got.collect::<Vec<_>>()
            });
            let held = got.iter().filter(|lease| lease.is_held()).count();
            assert!(held <= 1, "{held} hold it");
            drop(got);
            fs::remove_file(path).ok();
        }
    }
}
