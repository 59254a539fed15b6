//! Structured queries: parsed once, then run over documents in memory. There are no indexes: every query scans its scope,
//! and needs none declared.

use super::{
    fs,
    path::{self, FieldPath},
    tables::{self, Documents, Scope},
    value::{self, of},
};
use crate::limits;
use fs::{
    structured_query::{self as sq, Direction, field_filter::Operator, filter::FilterType, unary_filter},
    value::ValueType,
};
use std::cmp::Ordering;
use tonic::Status;

/// A query whose form is right.
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

#[derive(Debug, Clone)]
enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Field(FieldPath, Operator, fs::Value),
    Unary(FieldPath, unary_filter::Operator),
}

#[derive(Debug, Clone)]
struct Order {
    path: FieldPath,
    descending: bool,
}

impl Query {
    /// Checks a query below `parent`.
    pub(super) fn parse(parent: &str, query: fs::StructuredQuery) -> Result<Self, Status> {
        path::check_parent(parent)?;
        if query.find_nearest.is_some() {
            return Err(Status::unimplemented("vector search is not part of this local server"));
        }
        let filter = query.r#where.map(|filter| parse_filter(filter, 0)).transpose()?;
        let orders = parse_orders(query.order_by, filter.as_ref())?;
        for cursor in [&query.start_at, &query.end_at].into_iter().flatten() {
            if cursor.values.len() > orders.len() {
                return Err(Status::invalid_argument("a cursor has more values than the query has orders"));
            }
        }
        Ok(Self {
            scope: parse_scope(parent, &query.from)?,
            filter,
            orders,
            start: query.start_at,
            end: query.end_at,
            offset: count("offset", query.offset)?,
            limit: query.limit.map_or(Ok(usize::MAX), |limit| count("limit", limit))?,
            select: query.select.map(parse_projection).transpose()?,
        })
    }

    /// The documents that answer the query, in order, whole.
    pub(super) fn run(&self, table: &impl Documents) -> Result<Vec<fs::Document>, redb::Error> {
        let mut found = Vec::new();
        tables::scan(table, &self.scope, |document| {
            if self.matches(&document) {
                found.push(document);
            }
            true
        })?;
        found.sort_by(|a, b| self.compare(a, b));
        found.retain(|document| self.within_cursors(document));
        Ok(found.into_iter().skip(self.offset).take(self.limit).collect())
    }

    /// What the caller gets to see of a document.
    pub(super) fn project(&self, mut document: fs::Document) -> fs::Document {
        if let Some(mask) = &self.select {
            document.fields = path::project(&document.fields, mask);
        }
        document
    }

    /// Where its documents are.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Most documents of its result.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether documents before its result are left out by number.
    pub(super) fn skips(&self) -> bool {
        self.offset > 0
    }

    /// Whether its result is a window on the documents that it accepts, and not all of them.
    pub(super) fn is_windowed(&self) -> bool {
        self.skips() || self.limit != usize::MAX
    }

    /// Whether its callers see parts of documents.
    pub(super) fn is_projection(&self) -> bool {
        self.select.is_some()
    }

    /// Whether a document of its scope is in its result, or would be without offset and limit.
    pub(super) fn accepts(&self, document: &fs::Document) -> bool {
        self.matches(document) && self.within_cursors(document)
    }

    /// Whether a document passes the filter and has every field that the query sorts by.
    fn matches(&self, document: &fs::Document) -> bool {
        let sortable = self.orders.iter().all(|order| lookup(document, &order.path).is_some());
        sortable && self.filter.as_ref().is_none_or(|filter| filter.accepts(document))
    }

    /// The order of its result.
    pub(super) fn compare(&self, a: &fs::Document, b: &fs::Document) -> Ordering {
        let by = |order: &Order| match (lookup(a, &order.path), lookup(b, &order.path)) {
            (Some(a), Some(b)) => order.directed(value::compare(&a, &b)),
            _ => Ordering::Equal,
        };
        self.orders.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    fn within_cursors(&self, document: &fs::Document) -> bool {
        let starts = self.start.as_ref().is_none_or(|cursor| match self.against(document, cursor) {
            Ordering::Less => false,
            Ordering::Equal => cursor.before,
            Ordering::Greater => true,
        });
        let ends = self.end.as_ref().is_none_or(|cursor| match self.against(document, cursor) {
            Ordering::Less => true,
            Ordering::Equal => !cursor.before,
            Ordering::Greater => false,
        });
        starts && ends
    }

    /// Where a document stands relative to a cursor, which may name only the first few orders.
    fn against(&self, document: &fs::Document, cursor: &fs::Cursor) -> Ordering {
        let by = |(order, at): (&Order, &fs::Value)| {
            lookup(document, &order.path).map_or(Ordering::Equal, |value| order.directed(value::compare(&value, at)))
        };
        self.orders.iter().zip(&cursor.values).map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl Order {
    fn directed(&self, order: Ordering) -> Ordering {
        if self.descending { order.reverse() } else { order }
    }
}

impl Filter {
    fn accepts(&self, document: &fs::Document) -> bool {
        match self {
            Self::And(all) => all.iter().all(|filter| filter.accepts(document)),
            Self::Or(any) => any.iter().any(|filter| filter.accepts(document)),
            Self::Field(path, operator, operand) => {
                lookup(document, path).is_some_and(|value| holds(&value, *operator, operand))
            }
            Self::Unary(path, operator) => lookup(document, path).is_some_and(|value| match operator {
                unary_filter::Operator::IsNan => value::is_nan(&value),
                unary_filter::Operator::IsNull => value::is_null(&value),
                unary_filter::Operator::IsNotNan => !value::is_nan(&value) && !value::is_null(&value),
                unary_filter::Operator::IsNotNull => !value::is_null(&value),
                unary_filter::Operator::Unspecified => false,
            }),
        }
    }

    /// Paths under an inequality: queries sort by them even when not told to.
    fn inequalities<'a>(&'a self, paths: &mut Vec<&'a FieldPath>) {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().for_each(|filter| filter.inequalities(paths)),
            Self::Field(path, operator, _) if is_inequality(*operator) => paths.push(path),
            Self::Unary(path, unary_filter::Operator::IsNotNan | unary_filter::Operator::IsNotNull) => paths.push(path),
            Self::Field(..) | Self::Unary(..) => {}
        }
    }
}

fn is_inequality(operator: Operator) -> bool {
    use Operator as O;
    matches!(
        operator,
        O::LessThan | O::LessThanOrEqual | O::GreaterThan | O::GreaterThanOrEqual | O::NotEqual | O::NotIn
    )
}

/// Whether a value relates to the operand as asked. Comparisons hold only within one type; null equals only null.
fn holds(value: &fs::Value, operator: Operator, operand: &fs::Value) -> bool {
    use Operator as O;
    let comparable = value::rank(value) == value::rank(operand);
    let order = value::compare(value, operand);
    let among = |values: &[fs::Value]| values.iter().any(|candidate| value::equal(value, candidate));
    match operator {
        O::LessThan => comparable && order.is_lt(),
        O::LessThanOrEqual => comparable && order.is_le(),
        O::GreaterThan => comparable && order.is_gt(),
        O::GreaterThanOrEqual => comparable && order.is_ge(),
        O::Equal => order.is_eq(),
        O::NotEqual => order.is_ne() && !value::is_null(value),
        O::ArrayContains => elements(value).iter().any(|element| value::equal(element, operand)),
        O::In => among(elements(operand)),
        O::NotIn => {
            !value::is_null(value) && !elements(operand).iter().any(value::is_null) && !among(elements(operand))
        }
        O::ArrayContainsAny => {
            let contained =
                |candidate: &fs::Value| elements(value).iter().any(|element| value::equal(element, candidate));
            elements(operand).iter().any(contained)
        }
        O::Unspecified => false,
    }
}

fn elements(value: &fs::Value) -> &[fs::Value] {
    match &value.value_type {
        Some(ValueType::ArrayValue(array)) => &array.values,
        _ => &[],
    }
}

fn lookup(document: &fs::Document, path: &FieldPath) -> Option<fs::Value> {
    if path.is_name() {
        return Some(of(ValueType::ReferenceValue(document.name.clone())));
    }
    path.get(&document.fields).cloned()
}

fn parse_scope(parent: &str, from: &[sq::CollectionSelector]) -> Result<Scope, Status> {
    let [selector] = from else {
        return Err(Status::invalid_argument("a query must name exactly one collection in 'from'"));
    };
    if !selector.collection_id.is_empty() {
        path::check_id(&selector.collection_id)?;
    }
    match (selector.all_descendants, selector.collection_id.as_str()) {
        (true, id) => Ok(Scope::Group { parent: parent.into(), id: id.into() }),
        (false, "") => Err(Status::invalid_argument("a query must name its collection")),
        (false, id) => Ok(Scope::Collection(format!("{parent}/{id}"))),
    }
}

fn parse_filter(filter: sq::Filter, depth: usize) -> Result<Filter, Status> {
    if depth > limits::QUERY_DEPTH {
        return Err(Status::invalid_argument("filters are nested too deeply"));
    }
    match filter.filter_type.ok_or_else(|| Status::invalid_argument("a filter is empty"))? {
        FilterType::CompositeFilter(composite) => {
            let operator = composite.op();
            let filters = composite.filters.into_iter();
            let filters = filters.map(|filter| parse_filter(filter, depth + 1)).collect::<Result<_, _>>()?;
            match operator {
                sq::composite_filter::Operator::And => Ok(Filter::And(filters)),
                sq::composite_filter::Operator::Or => Ok(Filter::Or(filters)),
                sq::composite_filter::Operator::Unspecified => Err(unspecified()),
            }
        }
        FilterType::FieldFilter(filter) => {
            let operator = filter.op();
            let operand = filter.value.ok_or_else(|| Status::invalid_argument("a field filter has no value"))?;
            check_operand(operator, &operand)?;
            Ok(Filter::Field(parse_field(filter.field)?, operator, operand))
        }
        FilterType::UnaryFilter(filter) => {
            let operator = filter.op();
            if operator == unary_filter::Operator::Unspecified {
                return Err(unspecified());
            }
            let Some(unary_filter::OperandType::Field(field)) = filter.operand_type else {
                return Err(Status::invalid_argument("a unary filter has no field"));
            };
            Ok(Filter::Unary(parse_field(Some(field))?, operator))
        }
    }
}

fn check_operand(operator: Operator, operand: &fs::Value) -> Result<(), Status> {
    match operator {
        Operator::Unspecified => Err(unspecified()),
        Operator::In | Operator::NotIn | Operator::ArrayContainsAny => match elements(operand).len() {
            1..=limits::IN_OPERANDS => Ok(()),
            _ => Err(Status::invalid_argument(format!(
                "'{}' needs an array of 1 to {} values",
                operator.as_str_name(),
                limits::IN_OPERANDS
            ))),
        },
        _ => Ok(()),
    }
}

fn parse_orders(order_by: Vec<sq::Order>, filter: Option<&Filter>) -> Result<Vec<Order>, Status> {
    let mut orders = Vec::new();
    for order in order_by {
        let descending = order.direction() == Direction::Descending;
        orders.push(Order { path: parse_field(order.field)?, descending });
    }
    // As documented: implicit orders take the direction of the last explicit one.
    let descending = orders.last().is_some_and(|order| order.descending);
    let mut inequalities = Vec::new();
    if let Some(filter) = filter {
        filter.inequalities(&mut inequalities);
    }
    for path in inequalities {
        if !path.is_name() && !orders.iter().any(|order| order.path == *path) {
            orders.push(Order { path: path.clone(), descending });
        }
    }
    if !orders.iter().any(|order| order.path.is_name()) {
        orders.push(Order { path: FieldPath::parse("__name__")?, descending });
    }
    Ok(orders)
}

/// A projection without fields, and one of `__name__` alone, yields only names.
fn parse_projection(projection: sq::Projection) -> Result<Vec<FieldPath>, Status> {
    let paths = projection.fields.into_iter().map(|field| parse_field(Some(field)));
    Ok(paths.collect::<Result<Vec<_>, _>>()?.into_iter().filter(|path| !path.is_name()).collect())
}

fn parse_field(field: Option<sq::FieldReference>) -> Result<FieldPath, Status> {
    FieldPath::parse(&field.unwrap_or_default().field_path)
}

fn count(name: &str, number: i32) -> Result<usize, Status> {
    usize::try_from(number).map_err(|_| Status::invalid_argument(format!("{name} is negative")))
}

fn unspecified() -> Status {
    Status::invalid_argument("a filter's operator is not specified")
}
