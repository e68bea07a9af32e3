//! What goes to stdout and stderr. A reader that went away ends nothing in panic.

use std::io::{ErrorKind, Write};

use crate::failure::Failure;

/// Prints the result, whole.
///
/// # Errors
/// When stdout cannot take it; a closed pipe (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says on stderr what deserves attention, in one line.
pub(crate) fn warn(sentence: &str) {
    say("warning: ", sentence);
}

/// Says on stderr what is good to know, in one line.
pub(crate) fn inform(sentence: &str) {
    say("", sentence);
}

/// Says on stderr why the command failed. The mistakes of a file keep their lines.
pub(crate) fn fail(failure: &Failure) {
    // Without stderr the exit status must do.
    let _ = writeln!(std::io::stderr(), "spiderpoolctl: {failure}");
}

fn say(mark: &str, sentence: &str) {
    let line: Vec<&str> = sentence.split_whitespace().collect();
    // Without stderr there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{mark}{}", line.join(" "));
}
