//! What a panic says.

use std::any::Any;

/// The message of a panic that was caught.
#[must_use]
pub fn panicked(panic: &(dyn Any + Send)) -> &str {
    let literal = || panic.downcast_ref::<&str>().copied();
    panic.downcast_ref::<String>().map(String::as_str).or_else(literal).unwrap_or("no message")
}
