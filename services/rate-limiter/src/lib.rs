//! Token buckets for requests and tokens, in memory.

mod bucket;
mod buckets;
mod low_water;
mod reservations;
mod rules;
