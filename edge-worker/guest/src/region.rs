//! Memory for a call: a block in which one allocation follows the other, and which begins anew once none is left.
//!
//! What a call allocates is small and gone with the call: the strings of a request, rows of candidates, an answer. A heap
//! looks for room for each and takes each back; here an allocation is an addition. The block grows after the first call
//! that it did not hold, so that others like it ask nothing of the heap.
//!
//! Nothing depends on when an allocation is freed: the block counts those that are alive, whichever call they are of, and
//! begins anew only when there is none. A block in which something outlives its call is left to it, and another takes its
//! place.

#![expect(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr::null_mut;

/// The largest block. What a call needs beyond is the heap's.
const MAX_BYTES: usize = 16 << 20;
/// The smallest one.
const MIN_BYTES: usize = 16 << 10;
const ALIGN: usize = 16;
/// Blocks that may be left to what outlives its call; then the heap serves alone.
const MAX_LEFT: usize = 8;

/// A heap, and a block of it for what is allocated within [`Self::call`].
#[derive(Debug)]
pub(crate) struct Region<A> {
    heap: A,
    block: Cell<*mut u8>,
    size: Cell<usize>,
    /// Where the next allocation begins, from the start of the block.
    next: Cell<usize>,
    /// Allocations in the block.
    alive: Cell<usize>,
    /// Whether a call is under way.
    open: Cell<bool>,
    /// The bytes of all allocations of this call that the block had no room for.
    missed: Cell<usize>,
    /// Blocks that were left: where each begins, and how long it is. What is freed there is not used again.
    left: [Cell<(usize, usize)>; MAX_LEFT],
    left_count: Cell<usize>,
    /// How often the heap was asked.
    asked: Cell<u64>,
}

// SAFETY: a module without shared memory has one thread, so that there is never a second one to share it with.
#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
unsafe impl<A> Sync for Region<A> {}

impl<A: GlobalAlloc> Region<A> {
    /// Without a block.
    pub(crate) const fn new(heap: A) -> Self {
        Self {
            heap,
            block: Cell::new(null_mut()),
            size: Cell::new(0),
            next: Cell::new(0),
            alive: Cell::new(0),
            open: Cell::new(false),
            missed: Cell::new(0),
            left: [const { Cell::new((0, 0)) }; MAX_LEFT],
            left_count: Cell::new(0),
            asked: Cell::new(0),
        }
    }

    /// How often the heap was asked for memory so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.get()
    }

    /// Does something whose allocations go into the block. What is to outlive the call belongs behind it.
    pub(crate) fn call<T>(&self, f: impl FnOnce() -> T) -> T {
        self.open.set(true);
        let done = f();
        self.open.set(false);
        done
    }

    /// After a call, when what it returned is gone: makes room for the next one like it.
    pub(crate) fn settle(&self) {
        let (missed, size) = (self.missed.replace(0), self.size.get());
        let occupied = self.alive.get() > 0;
        if self.left_count.get() == MAX_LEFT || !occupied && (missed == 0 || size == MAX_BYTES) {
            return;
        }
        let block = self.block.replace(null_mut());
        if occupied {
            self.left[self.left_count.get()].set((block.addr(), size));
            self.left_count.set(self.left_count.get() + 1);
            self.alive.set(0);
            self.next.set(0);
        } else if let Some(layout) = self.layout() {
            // SAFETY: the block is of this heap and this layout, and nothing in it is alive.
            unsafe { self.heap.dealloc(block, layout) };
        }
        let wanted = if self.left_count.get() == MAX_LEFT { 0 } else { size.saturating_add(missed).min(MAX_BYTES) };
        self.size.set(if wanted == 0 { 0 } else { wanted.next_power_of_two().max(MIN_BYTES) });
        if let Some(layout) = self.layout() {
            self.asked.set(self.asked.get() + 1);
            // SAFETY: its size is not zero.
            self.block.set(unsafe { self.heap.alloc(layout) });
        }
        if self.block.get().is_null() {
            self.size.set(0);
        }
    }

    fn layout(&self) -> Option<Layout> {
        Layout::from_size_align(self.size.get(), ALIGN).ok().filter(|layout| layout.size() > 0)
    }

    /// Room in the block, if a call is under way.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        if !self.open.get() {
            return None;
        }
        if layout.align() > ALIGN {
            return None;
        }
        let from = self.next.get().next_multiple_of(layout.align());
        let to = from.saturating_add(layout.size());
        if to > self.size.get() {
            self.miss(layout.size());
            return None;
        }
        self.next.set(to);
        self.alive.set(self.alive.get() + 1);
        // SAFETY: `to`, and so `from`, is within the block.
        Some(unsafe { self.block.get().add(from) })
    }

    /// There should have been so much more room.
    fn miss(&self, bytes: usize) {
        self.missed.set(self.missed.get().saturating_add(bytes).saturating_add(ALIGN));
    }

    /// Where in the block an allocation begins; `None` if it is not in it.
    fn place(&self, ptr: *mut u8) -> Option<usize> {
        ptr.addr().checked_sub(self.block.get().addr()).filter(|from| *from < self.size.get())
    }

    /// Whether an allocation is in a block that was left.
    fn is_left(&self, ptr: *mut u8) -> bool {
        let holds = |(from, size): (usize, usize)| ptr.addr().checked_sub(from).is_some_and(|at| at < size);
        self.left[..self.left_count.get()].iter().any(|left| holds(left.get()))
    }
}

// SAFETY: an allocation is either the heap's, or a range of a block that is aligned as asked and that no other overlaps:
// `next` is never before the end of the last allocation that is alive, and goes back to the start only when nothing is. A
// block is freed only when nothing in it is alive, and nothing is put into one that was left. Nothing here panics or
// allocates.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Region<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout).unwrap_or_else(|| {
            self.asked.set(self.asked.get() + 1);
            // SAFETY: the caller's promise is the same.
            unsafe { self.heap.alloc(layout) }
        })
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let Some(from) = self.place(ptr) else {
            if !self.is_left(ptr) {
                // SAFETY: what is in no block is the heap's.
                unsafe { self.heap.dealloc(ptr, layout) };
            }
            return;
        };
        self.alive.set(self.alive.get() - 1);
        if self.alive.get() == 0 {
            self.next.set(0);
        } else if from + layout.size() == self.next.get() {
            self.next.set(from);
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let place = self.place(ptr);
        if place.is_none() && !self.is_left(ptr) {
            self.asked.set(self.asked.get() + 1);
            if self.open.get() {
                self.miss(size);
            }
            // SAFETY: what is in no block is the heap's; the caller's promise is the same.
            return unsafe { self.heap.realloc(ptr, layout, size) };
        }
        if let Some(from) = place.filter(|from| from + layout.size() == self.next.get())
            && size <= self.size.get() - from
        {
            self.next.set(from + size);
            return ptr;
        }
        if size <= layout.size() {
            return ptr;
        }
        // SAFETY: the caller promises that `size`, rounded up to the alignment, does not overflow and is not zero; both
        // allocations hold as many bytes as are copied, and the new one is another.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                ptr.copy_to_nonoverlapping(new, layout.size());
                self.dealloc(ptr, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    /// A region whose block has at least so many bytes, and 16 KiB.
    fn region(bytes: usize) -> Region<System> {
        let region = Region::new(System);
        let first = region.call(|| allocate(&region, layout(bytes, 1), 0));
        free(&region, &first);
        region.settle();
        region
    }

    /// An allocation, filled with a number of its own.
    struct Filled {
        ptr: *mut u8,
        layout: Layout,
        byte: u8,
    }

    fn allocate(region: &Region<System>, layout: Layout, byte: u8) -> Filled {
        // SAFETY: the layout is not empty, and the allocation has as many bytes as are written.
        let ptr = unsafe { region.alloc(layout) };
        assert!(!ptr.is_null() && ptr.addr().is_multiple_of(layout.align()));
        // SAFETY: it is as long.
        unsafe { ptr.write_bytes(byte, layout.size()) };
        Filled { ptr, layout, byte }
    }

    #[track_caller]
    fn is_intact(of: &Filled, len: usize) {
        // SAFETY: it is alive and has been filled.
        let bytes = unsafe { std::slice::from_raw_parts(of.ptr, len) };
        assert!(bytes.iter().all(|b| *b == of.byte), "{bytes:?} of {}", of.byte);
    }

    fn free(region: &Region<System>, of: &Filled) {
        is_intact(of, of.layout.size());
        // SAFETY: it is alive, and of this region.
        unsafe { region.dealloc(of.ptr, of.layout) };
    }

    fn resize(region: &Region<System>, of: &mut Filled, size: usize) {
        // SAFETY: it is alive, and of this region; the size is not zero.
        of.ptr = unsafe { region.realloc(of.ptr, of.layout, size) };
        is_intact(of, size.min(of.layout.size()));
        of.layout = layout(size, of.layout.align());
        // SAFETY: it has as many bytes.
        unsafe { of.ptr.write_bytes(of.byte, size) };
    }

    #[test]
    fn a_call_like_the_last_asks_nothing_of_the_heap() {
        let region = Region::new(System);
        let mut asked = Vec::new();
        for _ in 0..4 {
            let filled: Vec<Filled> =
                region.call(|| (1..100).map(|i| allocate(&region, layout(i * 5, 1 << (i % 5)), i as u8)).collect());
            filled.iter().for_each(|of| free(&region, of));
            region.settle();
            asked.push(region.asked());
        }
        assert_eq!(asked, [100, 100, 100, 100], "99 allocations and the block");
    }

    #[test]
    fn allocations_never_share_a_byte_in_whichever_order_they_are_freed() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut in_block, mut on_heap, mut left) = (0, 0, 0);
        for _ in 0..100 {
            let region = region(1);
            let mut filled: Vec<Filled> = Vec::new();
            for step in 0..200 {
                let mut change = || match random.u8(0..5) {
                    0 | 1 if !filled.is_empty() => free(&region, &filled.swap_remove(random.usize(0..filled.len()))),
                    2 if !filled.is_empty() => {
                        let of = random.usize(0..filled.len());
                        resize(&region, &mut filled[of], random.usize(1..3000));
                    }
                    _ => {
                        let new = allocate(&region, layout(random.usize(1..2000), 1 << random.u8(0..6)), step);
                        *(if region.place(new.ptr).is_some() { &mut in_block } else { &mut on_heap }) += 1;
                        filled.push(new);
                    }
                };
                // Now and then between calls, of which some end.
                if step % 10 == 0 {
                    change()
                } else {
                    region.call(change)
                }
                if step % 40 == 39 {
                    region.settle();
                }
            }
            for of in filled {
                free(&region, &of);
            }
            assert_eq!((region.alive.get(), region.next.get()), (0, 0));
            left += region.left_count.get();
        }
        assert!(in_block > 1000 && on_heap > 1000 && left > 100, "{in_block}, {on_heap}, {left}");
    }

    #[test]
    fn what_outlives_its_call_has_a_block_left_to_it() {
        let region = region(1000);
        let mut kept = region.call(|| allocate(&region, layout(100, 1), 7));
        region.settle();
        let asked = region.asked();
        for _ in 0..10 {
            let other = region.call(|| allocate(&region, layout(MIN_BYTES - 50, 1), 8));
            assert!(region.place(other.ptr).is_some());
            free(&region, &other);
            region.settle();
        }
        assert_eq!(region.asked(), asked, "the new block serves as the old one did");
        resize(&region, &mut kept, 200);
        assert!(!region.is_left(kept.ptr), "it goes where it may grow");
        free(&region, &kept);
    }

    #[test]
    fn in_the_end_the_heap_serves_alone() {
        let region = region(1000);
        let kept: Vec<Filled> = (0..20)
            .map(|byte| {
                let kept = region.call(|| allocate(&region, layout(100, 1), byte));
                region.settle();
                kept
            })
            .collect();
        assert_eq!((region.left_count.get(), region.size.get()), (MAX_LEFT, 0));
        kept.iter().for_each(|kept| free(&region, kept));
    }

    #[test]
    fn what_grows_on_the_heap_has_room_in_the_next_call() {
        let region = Region::new(System);
        let call = || {
            region.call(|| {
                let mut grown = allocate(&region, layout(8, 1), 1);
                (1..12).for_each(|i| resize(&region, &mut grown, 8 << i));
                free(&region, &grown);
            });
            region.settle();
            region.asked()
        };
        let first = call();
        assert_eq!([call(), call()], [first; 2]);
    }

    #[test]
    fn outside_of_calls_the_heap_is_asked() {
        let region = region(1000);
        let before = region.asked();
        let of = allocate(&region, layout(10, 1), 1);
        assert_eq!((region.asked(), region.place(of.ptr)), (before + 1, None));
        free(&region, &of);
    }

    #[test]
    fn the_last_allocation_grows_where_it_is() {
        let region = region(1000);
        let (first, mut last) =
            region.call(|| (allocate(&region, layout(8, 8), 1), allocate(&region, layout(8, 8), 2)));
        let at = last.ptr;
        region.call(|| resize(&region, &mut last, 500));
        assert_eq!(last.ptr, at);
        free(&region, &last);
        free(&region, &first);
    }

    #[test]
    fn a_block_is_bounded() {
        let region = region(MAX_BYTES * 3);
        assert_eq!(region.size.get(), MAX_BYTES);
    }
}
