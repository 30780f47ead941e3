//! JSON at the engines' edge: read in one pass straight into the contract's messages, written in one pass
//! straight from them. Members that the contract does not name keep their very text.

pub(crate) mod read;
pub(crate) mod write;
