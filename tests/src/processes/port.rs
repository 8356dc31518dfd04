//! Ports for programs that are started one after the other, and some of them again at the same ports.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::stack::{Ports, Which};

/// Below the ports that Linux gives to outgoing connections and to those who ask for any, which other tests do.
const FROM: u16 = 12_000;
const TO: u16 = 32_000;
/// One for the block itself, the others for the tiers.
const SIZE: u16 = 16;
const OF_A_TIER: u16 = 5;
const TRIES: usize = 100;

/// A few ports in a row that nobody else takes who asks here: a socket on the first of them says so.
#[derive(Debug)]
pub(super) struct Block {
    first: u16,
    _held: TcpListener,
}

impl Block {
    pub(super) fn take() -> io::Result<Self> {
        for _ in 0..TRIES {
            let first = FROM + SIZE * fastrand::u16(0..(TO - FROM) / SIZE);
            let Ok(held) = TcpListener::bind((Ipv4Addr::LOCALHOST, first)) else { continue };
            if (first + 1..first + SIZE).all(is_free) {
                return Ok(Self { first, _held: held });
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no {SIZE} free ports in a row in {TRIES} tries")))
    }

    /// Where a tier listens.
    pub(super) fn of(&self, which: Which) -> Ports {
        let first = self.first + 1 + OF_A_TIER * which as u16;
        Ports { http: Some(first), https: first + 1, tiers: first + 2, admin: first + 3 }
    }
}

/// Whether nobody listens at a port of the loopback.
#[must_use]
pub fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_blocks_and_no_two_tiers_share_a_port() {
        let blocks: Vec<_> = (0..20).map(|_| Block::take().unwrap()).collect();
        let mut all: Vec<u16> = blocks
            .iter()
            .flat_map(|block| Which::HIGHEST_FIRST.map(|which| block.of(which)))
            .flat_map(|at| [at.http.unwrap(), at.https, at.tiers, at.admin])
            .chain(blocks.iter().map(|block| block.first))
            .collect();
        let many = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), many);
    }
}
