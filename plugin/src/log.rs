use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cni::{Attachment, Error};
use serde_json::{Map, Value};

use crate::pod::Pod;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// What was done.
    Info,
    /// What is not as it should be.
    Warn,
    /// Why a verb failed.
    Error,
}

impl Level {
    /// Reads zap's names, as upstream's configurations have them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "debug" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warn" | "warning" => Some(Self::Warn),
            // zap's levels above error, which upstream takes; we have nothing to say there.
            "error" | "dpanic" | "panic" | "fatal" => Some(Self::Error),
            _ => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Where the log is, and what keeps it small. Zero switches a limit off.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Where it is.
    pub path: PathBuf,
    /// How large it grows before it is put aside.
    pub max_megabytes: u64,
    /// How long it is kept then.
    pub max_days: u64,
    /// How many are kept.
    pub max_files: u64,
}

/// The log of one call. A line that cannot be written is dropped: a full disk must not keep a pod from starting or ending.
#[derive(Debug)]
pub struct Log {
    level: Level,
    file: Option<File>,
    /// What every line says: of which verb, pod and interface it is.
    subject: Map<String, Value>,
}

impl Log {
    /// Opens it for one verb.
    #[must_use]
    pub fn open(level: Level, rotation: &Rotation, verb: &str, attachment: &Attachment) -> Self {
        let pod = Pod::known(&attachment.args);
        let about = [
            ("verb", verb),
            ("container", attachment.container_id.as_str()),
            ("interface", attachment.if_name.as_str()),
            ("namespace", pod.namespace),
            ("pod", pod.name),
            ("uid", pod.uid),
            ("network", attachment.network.name()),
        ];
        let mut subject = Map::new();
        // Not collected, which would bring a sort into the binary.
        for (key, value) in about {
            subject.insert(key.to_owned(), value.into());
        }
        Self { level, file: open(rotation).ok(), subject }
    }

    /// Writes why the verb fails.
    pub fn failed(&self, error: &Error) {
        let details = error.details.as_str().into();
        self.write(
            Level::Error,
            &error.message,
            &[("code", error.code.number().into()), ("details", details)],
        );
    }

    /// Writes a line.
    pub fn write(&self, level: Level, message: &str, fields: &[(&str, Value)]) {
        let Some(mut file) = self.file.as_ref().filter(|_| level >= self.level) else { return };
        let mut line = self.subject.clone();
        line.insert("level".to_owned(), level.as_str().into());
        line.insert("ts".to_owned(), timestamp(SystemTime::now()).into());
        line.insert("msg".to_owned(), message.into());
        for (key, value) in fields {
            line.insert((*key).to_owned(), value.clone());
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        // One write, so that the lines of concurrent calls do not mix.
        file.write_all(text.as_bytes()).unwrap_or_default();
    }
}

fn open(rotation: &Rotation) -> io::Result<File> {
    let append = || OpenOptions::new().append(true).create(true).open(&rotation.path);
    let file = match append() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = rotation.path.parent() {
                fs::create_dir_all(folder)?;
            }
            append()?
        }
        other => other?,
    };
    let held = file.metadata()?;
    let limit = rotation.max_megabytes.saturating_mul(1 << 20);
    // Calls run beside each other: whoever has the lock rotates, the others go on writing to the file they have.
    if limit > 0 && held.len() >= limit && file.try_lock().is_ok() {
        let there = fs::metadata(&rotation.path)?;
        if (there.dev(), there.ino()) == (held.dev(), held.ino()) {
            rotate(rotation, SystemTime::now())?;
        }
        return append();
    }
    Ok(file)
}

fn rotate(rotation: &Rotation, now: SystemTime) -> io::Result<()> {
    let path = &rotation.path;
    // Colons are no good in names that people type.
    let stamp = timestamp(now).replace(':', "-");
    let (stem, end) = name_parts(path);
    fs::rename(path, path.with_file_name(format!("{stem}-{stamp}{end}")))?;

    let mut old: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(path.parent().unwrap_or(Path::new("/")))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // The stamp begins with the year.
        let ours = name
            .strip_prefix(&format!("{stem}-"))
            .is_some_and(|rest| rest.ends_with(&end) && rest.starts_with("20"));
        if ours {
            old.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    let oldest = Duration::from_secs(rotation.max_days.saturating_mul(86_400));
    // Not sorted: a sort costs the binary 6 kB, and there are seven files.
    while let Some((index, (changed, path))) = old.iter().enumerate().min_by_key(|(_, (changed, _))| *changed)
    {
        let too_many = rotation.max_files > 0 && old.len() as u64 > rotation.max_files;
        let too_old = rotation.max_days > 0 && now.duration_since(*changed).is_ok_and(|age| age > oldest);
        if !too_many && !too_old {
            break;
        }
        fs::remove_file(path)?;
        old.swap_remove(index);
    }
    Ok(())
}

fn name_parts(path: &Path) -> (String, String) {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let end = path.extension().map(|end| format!(".{}", end.to_string_lossy())).unwrap_or_default();
    (stem, end)
}

/// RFC 3339 in UTC with milliseconds. By hand, as the binary's size has no room for a calendar.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Howard Hinnant's civil_from_days, for days after 1970: years begin in March, so that the leap day is a year's last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second, milli) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_rfc_3339_says() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.250Z"),
            (951_782_399, "2000-02-28T23:59:59.250Z"),
            (951_782_400, "2000-02-29T00:00:00.250Z"),
            (1_740_787_200, "2025-03-01T00:00:00.250Z"),
            (1_798_761_599, "2026-12-31T23:59:59.250Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::new(seconds, 250_000_000)), text);
        }
    }
}
