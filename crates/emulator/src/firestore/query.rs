//! Structured queries: parsed once, then run over documents in memory. There are no indexes: every query scans its
//! scope, and needs no declared index.

use super::{
    filter::{Filter, check_filter, check_reference, lookup, parse_field, parse_filter},
    fs,
    path::{self, FieldPath},
    tables::{self, Documents, Scope},
    value,
};
use crate::limits;
use fs::structured_query::{self as sq, Direction};
use std::cmp::Ordering;
use tonic::Status;

/// A valid query.
#[derive(Debug, Clone)]
pub(super) struct Query {
    scope: Scope,
    filter: Option<Filter>,
    orders: Vec<Order>,
    start: Option<fs::Cursor>,
    end: Option<fs::Cursor>,
    offset: usize,
    limit: usize,
    select: Option<Vec<FieldPath>>,
}

/// The result of a query.
pub(super) struct QueryResult {
    /// The whole documents, in order.
    pub(super) documents: Vec<fs::Document>,
    /// How many documents the offset skipped.
    pub(super) skipped: usize,
}

#[derive(Debug, Clone)]
struct Order {
    path: FieldPath,
    descending: bool,
}

impl Query {
    /// Checks a query below `parent`.
    pub(super) fn parse(parent: &str, query: fs::StructuredQuery) -> Result<Self, Status> {
        Self::parse_aggregated(parent, query, Vec::new())
    }

    /// Checks a query whose result is aggregated over fields. The documents must have all of these fields and are
    /// sorted by them, as in the index that the real service uses.
    pub(super) fn parse_aggregated(
        parent: &str,
        query: fs::StructuredQuery,
        aggregated: Vec<FieldPath>,
    ) -> Result<Self, Status> {
        path::check_parent(parent)?;
        if query.find_nearest.is_some() {
            return Err(Status::unimplemented("vector search is not part of this local server"));
        }
        let filter = query.r#where.map(|filter| parse_filter(filter, 0)).transpose()?;
        let mut orders = parse_orders(query.order_by)?;
        let conditions = filter.as_ref().map_or(Ok(0), check_filter)?;
        let ancestors = usize::from(!parent.ends_with("/documents"));
        let max = limits::MAX_QUERY_PARTS;
        if conditions + orders.len() + ancestors > max {
            return Err(Status::invalid_argument(format!("a query has more than {max} filters, orders and ancestors")));
        }
        let scope = parse_scope(parent, &query.from)?;
        if matches!(&scope, Scope::Children(_)) || matches!(&scope, Scope::Group { id, .. } if id.is_empty()) {
            check_any_collection(filter.as_ref(), &orders)?;
        }
        if query.select.is_some() && !aggregated.is_empty() {
            return Err(Status::invalid_argument("a query whose fields are aggregated cannot select fields"));
        }
        for cursor in [&query.start_at, &query.end_at].into_iter().flatten() {
            check_cursor(cursor, &orders)?;
        }
        add_implicit_orders(&mut orders, filter.as_ref(), aggregated)?;
        Ok(Self {
            scope,
            filter,
            orders,
            start: query.start_at,
            end: query.end_at,
            offset: count("offset", query.offset)?,
            limit: query.limit.map_or(Ok(usize::MAX), |limit| count("limit", limit))?,
            select: query.select.map(parse_projection).transpose()?,
        })
    }

    /// The documents that match the query.
    pub(super) fn run(&self, table: &impl Documents) -> Result<QueryResult, redb::Error> {
        let mut found = Vec::new();
        tables::scan(table, &self.scope, |document| {
            if self.matches(&document) {
                found.push(document);
            }
            true
        })?;
        found.sort_by(|a, b| self.compare(a, b));
        found.retain(|document| self.within_cursors(document));
        let skipped = self.offset.min(found.len());
        Ok(QueryResult { documents: found.into_iter().skip(skipped).take(self.limit).collect(), skipped })
    }

    /// Applies the query's projection to a document.
    pub(super) fn project(&self, mut document: fs::Document) -> fs::Document {
        if let Some(mask) = &self.select {
            document.fields = path::project(&document.fields, mask);
        }
        document
    }

    /// The collections of the query.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The largest number of documents in the result.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether the query has an offset.
    pub(super) fn has_offset(&self) -> bool {
        self.offset > 0
    }

    /// Whether the result is a window on the matching documents, not all of them.
    pub(super) fn is_windowed(&self) -> bool {
        self.has_offset() || self.limit != usize::MAX
    }

    /// Whether the query selects fields.
    pub(super) fn is_projection(&self) -> bool {
        self.select.is_some()
    }

    /// Whether a document of the scope is in the result, apart from offset and limit.
    pub(super) fn accepts(&self, document: &fs::Document) -> bool {
        self.matches(document) && self.within_cursors(document)
    }

    /// Whether a document passes the filter and has every field by which the query sorts.
    fn matches(&self, document: &fs::Document) -> bool {
        let sortable = self.orders.iter().all(|order| lookup(document, &order.path).is_some());
        sortable && self.filter.as_ref().is_none_or(|filter| filter.accepts(document))
    }

    /// The sort order of the result.
    pub(super) fn compare(&self, a: &fs::Document, b: &fs::Document) -> Ordering {
        let by = |order: &Order| match (lookup(a, &order.path), lookup(b, &order.path)) {
            (Some(a), Some(b)) => order.apply_direction(value::compare(&a, &b)),
            _ => Ordering::Equal,
        };
        self.orders.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    fn within_cursors(&self, document: &fs::Document) -> bool {
        let starts = self.start.as_ref().is_none_or(|cursor| match self.compare_to_cursor(document, cursor) {
            Ordering::Less => false,
            Ordering::Equal => cursor.before,
            Ordering::Greater => true,
        });
        let ends = self.end.as_ref().is_none_or(|cursor| match self.compare_to_cursor(document, cursor) {
            Ordering::Less => true,
            Ordering::Equal => !cursor.before,
            Ordering::Greater => false,
        });
        starts && ends
    }

    /// The position of a document relative to a cursor, which may name only the first few orders.
    fn compare_to_cursor(&self, document: &fs::Document, cursor: &fs::Cursor) -> Ordering {
        let by = |(order, at): (&Order, &fs::Value)| {
            lookup(document, &order.path)
                .map_or(Ordering::Equal, |value| order.apply_direction(value::compare(&value, at)))
        };
        self.orders.iter().zip(&cursor.values).map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl Order {
    fn apply_direction(&self, order: Ordering) -> Ordering {
        if self.descending { order.reverse() } else { order }
    }
}

fn parse_scope(parent: &str, from: &[sq::CollectionSelector]) -> Result<Scope, Status> {
    let (all_descendants, id) = match from {
        [] => (false, ""),
        [selector] => (selector.all_descendants, selector.collection_id.as_str()),
        _ => return Err(Status::invalid_argument("a query has more than one collection in 'from'")),
    };
    if !id.is_empty() {
        path::check_collection_id(id)?;
    }
    match (all_descendants, id) {
        (true, id) => Ok(Scope::Group { parent: parent.into(), id: id.into() }),
        (false, "") => Ok(Scope::Children(parent.into())),
        (false, id) => Ok(Scope::Collection(format!("{parent}/{id}"))),
    }
}

/// Checks a query that names no collection: only the index of names exists for it.
fn check_any_collection(filter: Option<&Filter>, orders: &[Order]) -> Result<(), Status> {
    let mut by_name = orders.iter().all(|order| order.path.is_name() && !order.descending);
    if let Some(filter) = filter {
        filter.visit(&mut |part| match part {
            Filter::Field(path, ..) | Filter::Unary(path, _) => by_name &= path.is_name(),
            Filter::And(_) | Filter::Or(_) => {}
        });
    }
    if by_name { Ok(()) } else { Err(Status::invalid_argument("a query by fields must name its collection")) }
}

/// A cursor has values only for the explicit orders of a query, not for the implicit ones.
fn check_cursor(cursor: &fs::Cursor, orders: &[Order]) -> Result<(), Status> {
    if cursor.values.len() > orders.len() {
        return Err(Status::invalid_argument("a cursor has more values than the query has orders"));
    }
    let names = orders.iter().zip(&cursor.values).filter(|(order, _)| order.path.is_name());
    names.map(|(_, value)| value).try_for_each(check_reference)
}

fn parse_orders(order_by: Vec<sq::Order>) -> Result<Vec<Order>, Status> {
    let mut orders: Vec<Order> = Vec::new();
    for order in order_by {
        let descending = order.direction() == Direction::Descending;
        let path = parse_field(order.field)?;
        if orders.iter().any(|order| order.path == path) {
            return Err(Status::invalid_argument("a query is ordered by one field twice"));
        }
        if orders.iter().any(|order| order.path.is_name()) {
            return Err(Status::invalid_argument("no order may follow that by __name__"));
        }
        orders.push(Order { path, descending });
    }
    Ok(orders)
}

/// Adds the implicit orders of a query: fields with inequalities, aggregated fields, the name.
fn add_implicit_orders(
    orders: &mut Vec<Order>,
    filter: Option<&Filter>,
    mut aggregated: Vec<FieldPath>,
) -> Result<(), Status> {
    // Documented: implicit orders take the direction of the last explicit one.
    let descending = orders.last().is_some_and(|order| order.descending);
    let mut inequalities = Vec::new();
    if let Some(filter) = filter {
        filter.inequalities(&mut inequalities);
    }
    // Sorted by the fields' names, not by their order in the filter.
    let mut paths: Vec<_> = inequalities.into_iter().cloned().collect();
    paths.sort_unstable();
    let named = paths.iter().any(FieldPath::is_name) || orders.iter().any(|order| order.path.is_name());
    aggregated.retain(|path| !paths.contains(path) && !orders.iter().any(|order| order.path == *path));
    if named && !aggregated.is_empty() {
        return Err(Status::invalid_argument("an aggregated field must stand in order_by before __name__"));
    }
    paths.retain(|path| !path.is_name());
    paths.append(&mut aggregated);
    for path in paths {
        if orders.iter().any(|order| order.path == path) {
            continue;
        }
        if orders.iter().any(|order| order.path.is_name()) {
            return Err(Status::invalid_argument("a field under an inequality must stand in order_by before __name__"));
        }
        orders.push(Order { path, descending });
    }
    if !orders.iter().any(|order| order.path.is_name()) {
        orders.push(Order { path: FieldPath::name(), descending });
    }
    Ok(())
}

/// Without fields, or with `__name__` alone, a projection yields only names.
fn parse_projection(projection: sq::Projection) -> Result<Vec<FieldPath>, Status> {
    let paths = projection.fields.into_iter().map(|field| parse_field(Some(field)));
    Ok(paths.collect::<Result<Vec<_>, _>>()?.into_iter().filter(|path| !path.is_name()).collect())
}

fn count(name: &str, number: i32) -> Result<usize, Status> {
    usize::try_from(number).map_err(|_| Status::invalid_argument(format!("{name} is negative")))
}
