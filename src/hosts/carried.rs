//! The program that goes over to hosts: what build.rs has built of `src/carried`, packed. No I/O.

/// Packed with gzip; nothing where none could be built.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/carried.gz"));

/// The program for a host of that system (`Linux x86_64`), packed. Empty where there is none for it: the host's own tools
/// do the same, slower. Whether it may run over there, the host says itself.
pub fn program_for(system: &str) -> &'static [u8] {
    if system == format!("Linux {}", std::env::consts::ARCH) { PACKED } else { &[] }
}
