//! JSON at the facade's edge: reading straight into the contract's messages and writing straight out of
//! them, each in one pass. No tree of values in between; what the contract does not name keeps its text.

mod mend;
pub(crate) mod object;
pub(crate) mod raw;
pub(crate) mod read;
pub(crate) mod time;
pub(crate) mod value;
pub(crate) mod write;
