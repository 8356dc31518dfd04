//! Loops that take several elements a turn.
//!
//! An engine may look at its clock at the head of a loop (wasmtime's epochs do), and then keeps nothing in a register
//! from one turn to the next. To leave in the middle of a turn costs next to nothing, and makes the compiler finish one
//! element before it begins the next, where it would otherwise load all of them first and run out of registers.

/// Elements of a turn.
const TURN: usize = 8;

/// Gives each element to `f`.
#[inline(always)]
pub(super) fn each<T>(mut elements: impl Iterator<Item = T>, mut f: impl FnMut(T)) {
    while turn(&mut elements, &mut f) {}
}

/// The same in turns of twice as many, for a loop of whose time much is spent between turns.
#[inline(always)]
pub(super) fn each_longer<T>(mut elements: impl Iterator<Item = T>, mut f: impl FnMut(T)) {
    // Both written out: the compiler does not unroll as many.
    while turn(&mut elements, &mut f) && turn(&mut elements, &mut f) {}
}

/// The same in turns of two, for what is much by itself.
#[inline(always)]
pub(super) fn each_large<T>(mut elements: impl Iterator<Item = T>, mut f: impl FnMut(T)) {
    while let Some(element) = elements.next() {
        f(element);
        match elements.next() {
            Some(element) => f(element),
            None => return,
        }
    }
}

/// Whether there may be more.
#[inline(always)]
fn turn<T>(elements: &mut impl Iterator<Item = T>, f: &mut impl FnMut(T)) -> bool {
    for _ in 0..TURN {
        match elements.next() {
            Some(element) => f(element),
            None => return false,
        }
    }
    true
}
