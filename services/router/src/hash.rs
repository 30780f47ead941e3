//! A hash that is the same in every process and every release, so that all routers send a session the same way.
//! Not for secrets, and not against somebody who looks for collisions: those only meet on one deployment.

/// An odd number without pattern: 2^64 divided by the golden ratio.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads a number over all 64 bits (splitmix64's last steps).
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The hash of `bytes`, going on from `hash`.
pub(crate) fn bytes(hash: u64, bytes: &[u8]) -> u64 {
    let mut hash = mix(hash ^ (bytes.len() as u64).wrapping_mul(GOLDEN));
    let mut take = |word: [u8; 8]| {
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(GOLDEN).rotate_left(29);
    };
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().copied().for_each(&mut take);
    if !rest.is_empty() {
        let mut word = [0; 8];
        word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        take(word);
    }
    mix(hash)
}

/// A number from 0, not 0 itself, to 1, by 52 bits of a hash.
#[allow(clippy::cast_precision_loss)] // 52 bits fit
pub(crate) fn share(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_what_it_is_and_sees_every_byte() {
        // If this changes, sessions change their deployments with an update.
        assert_eq!(bytes(0, b"session"), 3_513_592_900_116_894_491);
        let texts = ["", "a", "b", "ab", "a\0", "abcdefgh", "abcdefgi", "abcdefgh\0"];
        let hashes: std::collections::HashSet<_> = texts.map(|text| bytes(0, text.as_bytes())).into();
        assert_eq!(hashes.len(), texts.len());
        assert!(share(0) > 0.0 && share(u64::MAX) < 1.0);
    }
}
