//! Standard output and standard error of all commands.
//!
//! The macros of this module take the place of the standard ones, which panic if the reader has gone. A reader that has
//! gone, for example `head`, is no error: the command goes on without output, because its changes and its exit code
//! are worth something without the text. Every other error, for example of a full disk, is kept, and the command
//! ends with it.

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;

/// The first error of standard output.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Prints on standard output as the macro of the standard library does, and never panics.
macro_rules! print {
    ($($arg:tt)*) => { $crate::output::write_out(format_args!($($arg)*), "") };
}

/// Prints a line on standard output as the macro of the standard library does, and never panics.
macro_rules! println {
    () => { $crate::output::write_out(format_args!(""), "\n") };
    ($($arg:tt)*) => { $crate::output::write_out(format_args!($($arg)*), "\n") };
}

/// Prints a line on standard error as the macro of the standard library does, and never panics.
macro_rules! eprintln {
    ($($arg:tt)*) => { $crate::output::write_error(format_args!($($arg)*)) };
}

/// Writes to standard output. The macros call it.
pub(crate) fn write_out(text: fmt::Arguments<'_>, end: &str) {
    // The writer keeps the error.
    let _ = write!(StandardOutput, "{text}{end}");
}

/// Writes a line to standard error. An error there cannot be reported anywhere.
pub(crate) fn write_error(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Standard output as a writer that never fails.
pub(crate) struct StandardOutput;

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if is_closed() {
            return Ok(bytes.len());
        }
        Ok(io::stdout().lock().write(bytes).unwrap_or_else(|error| keep(error, bytes.len())))
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Err(error) = io::stdout().lock().flush() {
            keep(error, 0);
        }
        Ok(())
    }
}

/// Keeps the first error. Returns the number of bytes that count as written.
fn keep(error: io::Error, bytes: usize) -> usize {
    let _ = FAILED.set(error);
    bytes
}

/// Tells whether standard output has failed. A command that would print without end stops then.
pub(crate) fn is_closed() -> bool {
    FAILED.get().is_some()
}

/// Writes out the rest, and returns the error of standard output, unless its reader has gone.
pub(crate) fn finish() -> Option<&'static io::Error> {
    let _ = StandardOutput.flush();
    FAILED.get().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
}
