//! Pages of a collection's documents.

use super::{
    fs,
    methods::{bad_token, page_size},
    path::FieldPath,
    value::{self, of},
};
use crate::json;
use fs::{structured_query as sq, value::ValueType};
use prost::Message;
use tonic::Status;

/// The parameters of a page: its size and its sort order.
pub(super) struct Listing {
    size: usize,
    orders: Vec<(FieldPath, sq::Order)>,
    /// The last document of the previous page.
    after: Option<fs::Cursor>,
}

impl Listing {
    /// Checks the parts of a request that do not depend on the collection.
    pub(super) fn parse(request: &fs::ListDocumentsRequest) -> Result<Self, Status> {
        if request.show_missing && (!request.order_by.is_empty() || request.collection_id.is_empty()) {
            return Err(Status::invalid_argument("show_missing needs a collection_id and no order_by"));
        }
        let mut orders = parse_orders(&request.order_by)?;
        if !orders.iter().any(|(path, _)| path.is_name()) {
            let direction = orders.last().map_or(sq::Direction::Ascending, |(_, order)| order.direction());
            orders.push((FieldPath::name(), order("__name__", direction)));
        }
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(parse_token(token, orders.len())?),
        };
        Ok(Self { size: page_size(request.page_size)?, orders, after })
    }

    /// The query for the documents of the page, and for one more if there is another page.
    pub(super) fn query(&self, request: &fs::ListDocumentsRequest) -> Result<fs::StructuredQuery, Status> {
        let selector = sq::CollectionSelector { collection_id: request.collection_id.clone(), all_descendants: false };
        let limit = i32::try_from(self.size + 1).map_err(|_| Status::internal("a page is too long"))?;
        Ok(fs::StructuredQuery {
            from: vec![selector],
            order_by: self.orders.iter().map(|(_, order)| order.clone()).collect(),
            start_at: self.after.clone(),
            limit: Some(limit),
            ..fs::StructuredQuery::default()
        })
    }

    /// Adds the missing documents that have subcollections, with a name and no fields.
    pub(super) fn with_missing(
        &self,
        mut found: Vec<fs::Document>,
        names: impl Iterator<Item = String>,
    ) -> Vec<fs::Document> {
        let after = self.after.as_ref().and_then(|cursor| cursor.values.last());
        let is_later = |name: &String| match after.and_then(|value| value.value_type.as_ref()) {
            Some(ValueType::ReferenceValue(after)) => value::compare_names(name, after).is_gt(),
            _ => true,
        };
        let missing = names.filter(is_later).map(|name| fs::Document { name, ..fs::Document::default() });
        found.extend(missing);
        // A document that exists sorts before a missing one of the same name, which the next line drops.
        found.sort_by(|a, b| {
            value::compare_names(&a.name, &b.name).then(b.update_time.is_some().cmp(&a.update_time.is_some()))
        });
        found.dedup_by(|later, earlier| later.name == earlier.name);
        found.truncate(self.size + 1);
        found
    }

    /// Truncates `documents` to the page and returns the token of the next one.
    pub(super) fn split_page(&self, documents: &mut Vec<fs::Document>) -> String {
        let more = documents.len() > self.size;
        documents.truncate(self.size);
        let Some(last) = documents.last().filter(|_| more) else { return String::new() };
        let cursor_value = |(path, _): &(FieldPath, sq::Order)| match path.is_name() {
            true => of(ValueType::ReferenceValue(last.name.clone())),
            false => path.get(&last.fields).cloned().unwrap_or_default(),
        };
        let values = self.orders.iter().map(cursor_value).collect();
        json::encode_base64(&fs::Cursor { values, before: false }.encode_to_vec())
    }
}

/// Parses `a desc, b`.
fn parse_orders(order_by: &str) -> Result<Vec<(FieldPath, sq::Order)>, Status> {
    if order_by.is_empty() {
        return Ok(Vec::new());
    }
    let parse = |part: &str| {
        let (path, direction) = match part.split_once(' ') {
            None => (part, sq::Direction::Ascending),
            Some((path, "asc")) => (path, sq::Direction::Ascending),
            Some((path, "desc")) => (path, sq::Direction::Descending),
            Some(_) => return Err(Status::invalid_argument(format!("invalid order \"{part}\" in order_by"))),
        };
        Ok((FieldPath::parse(path)?, order(path, direction)))
    };
    order_by.split(',').map(|part| parse(part.strip_prefix(' ').unwrap_or(part))).collect()
}

fn order(path: &str, direction: sq::Direction) -> sq::Order {
    sq::Order { field: Some(sq::FieldReference { field_path: path.into() }), direction: direction.into() }
}

fn parse_token(token: &str, orders: usize) -> Result<fs::Cursor, Status> {
    let bytes = json::decode_base64(token).ok_or_else(bad_token)?;
    let cursor = fs::Cursor::decode(bytes.as_slice()).map_err(|_| bad_token())?;
    if cursor.values.len() == orders && !cursor.before { Ok(cursor) } else { Err(bad_token()) }
}
