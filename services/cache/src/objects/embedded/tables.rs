//! The tables of the embedded store and what is done to them, each within one transaction. Heads and contents
//! stand apart, so that a list which filters reads no content.

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::{
    super::{Bounds, Head, Held, Object, PAGE_MAX_BYTES, Page, Place, Query, encoding},
    Failure,
};
use crate::Error;

type PlaceKey = (&'static str, &'static str, &'static str);
type OrderKey = (&'static str, &'static str, u64, &'static str);
type AgeKey = (u64, &'static str, &'static str, &'static str);

/// Tenant, kind, id → head.
const HEADS: TableDefinition<'_, PlaceKey, &[u8]> = TableDefinition::new("heads");
/// Tenant, kind, id → content.
const CONTENTS: TableDefinition<'_, PlaceKey, &[u8]> = TableDefinition::new("contents");
/// Tenant, kind, created, id → weight: the order of lists, and which of a tenant's is the oldest.
const ORDER: TableDefinition<'_, OrderKey, u64> = TableDefinition::new("order");
/// Created, tenant, kind, id → weight: which of all is the oldest.
const AGES: TableDefinition<'_, AgeKey, u64> = TableDefinition::new("ages");
/// Tenant → weight of all that it has; [`ALL`] → of all.
const WEIGHTS: TableDefinition<'_, &str, u64> = TableDefinition::new("weights");
/// What is written to see whether it can be.
const PROBE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("probe");
/// So much, in bytes: as much as a long conversation takes. Less would fit into room that the file has left, and say
/// of a full disk that it can be written.
const PROBE_BYTES: usize = 64 << 10;
/// No tenant has this name.
const ALL: &str = "";

/// What an object takes beside its names, its head and its content, in bytes: entries in five tables.
const OVERHEAD_BYTES: usize = 256;
/// Objects that are too old and freed in one transaction of the background: others wait no longer than that takes.
const SWEPT_AT_ONCE: usize = 500;
/// Likewise when one is put: more than comes, so that nothing gathers.
const SWEPT_ON_PUT: usize = 4;

/// Every table, to be changed.
pub(super) struct Tables<'t> {
    heads: Table<'t, PlaceKey, &'static [u8]>,
    contents: Table<'t, PlaceKey, &'static [u8]>,
    order: Table<'t, OrderKey, u64>,
    ages: Table<'t, AgeKey, u64>,
    weights: Table<'t, &'static str, u64>,
    probe: Table<'t, &'static str, &'static [u8]>,
}

impl<'t> Tables<'t> {
    /// Opens the tables, and makes those that are missing.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            heads: transaction.open_table(HEADS)?,
            contents: transaction.open_table(CONTENTS)?,
            order: transaction.open_table(ORDER)?,
            ages: transaction.open_table(AGES)?,
            weights: transaction.open_table(WEIGHTS)?,
            probe: transaction.open_table(PROBE)?,
        })
    }

    /// Writes what is no object.
    pub(super) fn write_probe(&mut self) -> Result<(), Failure> {
        self.probe.insert(ALL, [0; PROBE_BYTES].as_slice())?;
        Ok(())
    }

    pub(super) fn held(&self) -> Result<Held, Failure> {
        use redb::ReadableTableMetadata as _;
        Ok(Held { objects: self.heads.len()?, bytes: self.weight_of(ALL)? })
    }

    /// Keeps a new object; returns how many had to go for it.
    pub(super) fn put(
        &mut self,
        place: &Place,
        head: &Head,
        content: &[u8],
        bounds: &Bounds,
        now: u64,
    ) -> Result<u64, Failure> {
        if let Some(known) = self.head(place)? {
            if !bounds.too_old(known.created, now) {
                return Err(Error::Conflict.into());
            }
            self.take_out(place, known.created)?;
        }
        self.free(SWEPT_ON_PUT, bounds, now)?;
        let (head_bytes, content_bytes) = (encoding::encode(head), encoding::seal(content));
        let weight = weight(place, head_bytes.len(), content_bytes.len());
        let gone = self.make_room(&place.tenant, weight, bounds)?;
        self.contents.insert(key(place), content_bytes.as_slice())?;
        self.enter(place, head.created, &head_bytes, weight)?;
        Ok(gone)
    }

    /// Replaces the metadata of an object.
    pub(super) fn update(
        &mut self,
        place: &Place,
        metadata: Vec<(String, String)>,
        bounds: &Bounds,
        now: u64,
    ) -> Result<Object, Failure> {
        let head =
            self.head(place)?.filter(|head| !bounds.too_old(head.created, now)).ok_or(Error::NotFound)?;
        let content = read_content(&self.contents, place)?;
        let head = Head { metadata, ..head };
        let head_bytes = encoding::encode(&head);
        let weight = weight(place, head_bytes.len(), content.len() + encoding::SEAL_BYTES);
        self.forget(place, head.created)?;
        self.enter(place, head.created, &head_bytes, weight)?;
        Ok(Object { id: place.id.clone(), head, content: content.into() })
    }

    /// Deletes an object.
    pub(super) fn delete(&mut self, place: &Place, bounds: &Bounds, now: u64) -> Result<(), Failure> {
        let head =
            self.head(place)?.filter(|head| !bounds.too_old(head.created, now)).ok_or(Error::NotFound)?;
        self.take_out(place, head.created)
    }

    /// Frees some of what is too old; returns whether there is more of it.
    pub(super) fn sweep(&mut self, bounds: &Bounds, now: u64) -> Result<bool, Failure> {
        self.free(SWEPT_AT_ONCE, bounds, now)
    }

    fn free(&mut self, at_most: usize, bounds: &Bounds, now: u64) -> Result<bool, Failure> {
        for _ in 0..at_most {
            match self.oldest()? {
                Some((place, created)) if bounds.too_old(created, now) => self.take_out(&place, created)?,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn make_room(&mut self, tenant: &str, weight: u64, bounds: &Bounds) -> Result<u64, Failure> {
        let mut gone = 0;
        while self.weight_of(tenant)?.saturating_add(weight) > bounds.max_bytes_per_tenant {
            let Some((place, created)) = self.oldest_of(tenant)? else { break };
            self.take_out(&place, created)?;
            gone += 1;
        }
        while self.weight_of(ALL)?.saturating_add(weight) > bounds.max_bytes {
            let Some((place, created)) = self.oldest()? else { break };
            self.take_out(&place, created)?;
            gone += 1;
        }
        Ok(gone)
    }

    fn oldest(&self) -> Result<Option<(Place, u64)>, Failure> {
        Ok(self.ages.first()?.map(|(found, _)| {
            let (created, tenant, kind, id) = found.value();
            (place(tenant, kind, id), created)
        }))
    }

    /// The oldest object of a tenant: the oldest among those that are the oldest of their kind.
    fn oldest_of(&self, tenant: &str) -> Result<Option<(Place, u64)>, Failure> {
        let mut oldest: Option<(Place, u64)> = None;
        let mut from = String::new();
        while let Some(first) = self.order.range((tenant, from.as_str(), 0, "")..)?.next() {
            let (found, _) = first?;
            let (of, kind, created, id) = found.value();
            if of != tenant {
                break;
            }
            if oldest.as_ref().is_none_or(|(_, known)| created < *known) {
                oldest = Some((place(tenant, kind, id), created));
            }
            // The first name after this kind's.
            from = format!("{kind}\0");
        }
        Ok(oldest)
    }

    fn head(&self, place: &Place) -> Result<Option<Head>, Failure> {
        read_head(&self.heads, place)
    }

    /// Writes everything of an object but its content.
    fn enter(&mut self, place: &Place, created: u64, head: &[u8], weight: u64) -> Result<(), Failure> {
        let Place { tenant, kind, id } = place;
        self.heads.insert(key(place), head)?;
        self.order.insert((tenant.as_str(), kind.as_str(), created, id.as_str()), weight)?;
        self.ages.insert((created, tenant.as_str(), kind.as_str(), id.as_str()), weight)?;
        for of in [ALL, tenant] {
            let more = self.weight_of(of)?.saturating_add(weight);
            self.weights.insert(of, more)?;
        }
        Ok(())
    }

    /// Takes out what `enter` wrote.
    fn forget(&mut self, place: &Place, created: u64) -> Result<(), Failure> {
        let Place { tenant, kind, id } = place;
        self.heads.remove(key(place))?;
        self.order.remove((tenant.as_str(), kind.as_str(), created, id.as_str()))?;
        let weight = self.ages.remove((created, tenant.as_str(), kind.as_str(), id.as_str()))?;
        let weight = weight.map_or(0, |weight| weight.value());
        for of in [ALL, tenant] {
            match self.weight_of(of)?.saturating_sub(weight) {
                // Tenants that have nothing leave nothing behind.
                0 => self.weights.remove(of)?.map(drop),
                left => self.weights.insert(of, left)?.map(drop),
            };
        }
        Ok(())
    }

    fn take_out(&mut self, place: &Place, created: u64) -> Result<(), Failure> {
        self.contents.remove(key(place))?;
        self.forget(place, created)
    }

    /// Writes these bytes where a content stands.
    #[cfg(test)]
    pub(super) fn damage(&mut self, place: &Place, bytes: &[u8]) -> Result<(), Failure> {
        self.contents.insert(key(place), bytes)?;
        Ok(())
    }

    fn weight_of(&self, of: &str) -> Result<u64, Failure> {
        Ok(self.weights.get(of)?.map_or(0, |weight| weight.value()))
    }
}

/// One object.
pub(super) fn get(
    transaction: &ReadTransaction,
    place: &Place,
    bounds: &Bounds,
    now: u64,
) -> Result<Object, Failure> {
    let head = read_head(&transaction.open_table(HEADS)?, place)?;
    let head = head.filter(|head| !bounds.too_old(head.created, now)).ok_or(Error::NotFound)?;
    let content = read_content(&transaction.open_table(CONTENTS)?, place)?.into();
    Ok(Object { id: place.id.clone(), head, content })
}

/// A page of objects.
pub(super) fn list(
    transaction: &ReadTransaction,
    query: &Query,
    bounds: &Bounds,
    now: u64,
) -> Result<Page, Failure> {
    let (order, heads) = (transaction.open_table(ORDER)?, transaction.open_table(HEADS)?);
    let contents = transaction.open_table(CONTENTS)?;
    let (tenant, kind) = (query.tenant.as_str(), query.kind.as_str());
    let (mut from, mut to) = ((tenant, kind, 0, ""), (tenant, kind, u64::MAX, ""));
    if let Some(after) = &query.after {
        let head = read_head(&heads, &place(tenant, kind, after))?;
        let head = head.filter(|head| !bounds.too_old(head.created, now)).ok_or(Error::UnknownCursor)?;
        let cursor = (tenant, kind, head.created, after.as_str());
        *(if query.newest_first { &mut to } else { &mut from }) = cursor;
    }
    // Nothing has the empty id, so that only the cursor itself is ever left out.
    let between = (std::ops::Bound::Excluded(from), std::ops::Bound::Excluded(to));
    let mut range = order.range::<(&str, &str, u64, &str)>(between)?;
    let (mut page, mut bytes) = (Page::default(), 0);
    while let Some(entry) = if query.newest_first { range.next_back() } else { range.next() } {
        let (found, _) = entry?;
        let (_, _, created, id) = found.value();
        if bounds.too_old(created, now) {
            continue;
        }
        let place = place(tenant, kind, id);
        let head = read_head(&heads, &place)?.ok_or_else(|| damaged(&place, "its head is missing"))?;
        if !query.matches(&head) {
            continue;
        }
        if page.objects.len() == query.limit {
            page.has_more = true;
            break;
        }
        let content = read_content(&contents, &place)?;
        bytes += content.len();
        if bytes > PAGE_MAX_BYTES && !page.objects.is_empty() {
            page.has_more = true;
            break;
        }
        page.objects.push(Object { id: place.id, head, content: content.into() });
    }
    Ok(page)
}

/// Whether there is what was written by a probe.
pub(super) fn read_probe(transaction: &ReadTransaction) -> Result<bool, Failure> {
    Ok(transaction.open_table(PROBE)?.get(ALL)?.is_some())
}

/// Whether something is too old.
pub(super) fn has_too_old(transaction: &ReadTransaction, bounds: &Bounds, now: u64) -> Result<bool, Failure> {
    let ages = transaction.open_table(AGES)?;
    let first = ages.first()?;
    Ok(first.is_some_and(|(found, _)| bounds.too_old(found.value().0, now)))
}

fn read_head(
    heads: &impl ReadableTable<PlaceKey, &'static [u8]>,
    at: &Place,
) -> Result<Option<Head>, Failure> {
    let Some(bytes) = heads.get(key(at))? else { return Ok(None) };
    encoding::decode(bytes.value()).map(Some).map_err(|detail| damaged(at, &detail))
}

fn read_content(
    contents: &impl ReadableTable<PlaceKey, &'static [u8]>,
    at: &Place,
) -> Result<Vec<u8>, Failure> {
    let bytes = contents.get(key(at))?.ok_or_else(|| damaged(at, "its content is missing"))?;
    encoding::unseal(bytes.value()).map(<[u8]>::to_vec).map_err(|detail| damaged(at, &detail))
}

fn damaged(at: &Place, detail: &str) -> Failure {
    Error::Damaged(format!("{} {}: {detail}", at.kind, at.id)).into()
}

fn place(tenant: &str, kind: &str, id: &str) -> Place {
    Place { tenant: tenant.to_owned(), kind: kind.to_owned(), id: id.to_owned() }
}

fn key(place: &Place) -> (&str, &str, &str) {
    (&place.tenant, &place.kind, &place.id)
}

/// What an object counts for: its names stand in four tables.
fn weight(place: &Place, head: usize, content: usize) -> u64 {
    let names = place.tenant.len() + place.kind.len() + place.id.len();
    (4 * names + head + content + OVERHEAD_BYTES) as u64
}
