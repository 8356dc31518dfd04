//! The tool as its users start it, and what it writes as the programs that are to read it take it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod golden;
mod proxies;
mod tools;
mod verbs;

use std::process::Command;

/// Whether a program that a test wants is there; tells why the test is skipped if not.
fn installed(program: &str) -> bool {
    let there = Command::new(program).arg("--help").output().is_ok();
    if !there {
        eprintln!("skipped: `{program}` is not installed");
    }
    there
}
