//! SHA-256 of bytes, as text. What is compared by it is compared for being the same, never for being secret.

use sha2::{Digest as _, Sha256};

/// As 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
