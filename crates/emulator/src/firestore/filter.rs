//! Filters of queries: parsed and checked once, then evaluated against documents.

use super::{
    fs,
    path::{DocumentName, FieldPath},
    value::{self, of},
};
use crate::limits;
use fs::{
    structured_query::{self as sq, field_filter::Operator, filter::FilterType, unary_filter},
    value::ValueType,
};
use prost::Message;
use std::collections::BTreeSet;
use tonic::Status;

/// A valid filter.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Field(FieldPath, Operator, fs::Value),
    Unary(FieldPath, unary_filter::Operator),
}

impl Filter {
    /// Whether a document matches the filter.
    pub(super) fn accepts(&self, document: &fs::Document) -> bool {
        match self {
            Self::And(all) => all.iter().all(|filter| filter.accepts(document)),
            Self::Or(any) => any.iter().any(|filter| filter.accepts(document)),
            Self::Field(path, operator, operand) => {
                lookup(document, path).is_some_and(|value| satisfies(&value, *operator, operand))
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

    /// Passes the filter and all nested filters to `visitor`.
    pub(super) fn visit(&self, visitor: &mut impl FnMut(&Filter)) {
        visitor(self);
        if let Self::And(filters) | Self::Or(filters) = self {
            filters.iter().for_each(|filter| filter.visit(visitor));
        }
    }

    /// Whether no document can match. Inequalities in such a part are ignored.
    fn is_never_true(&self) -> bool {
        use Operator as O;
        match self {
            Self::And(all) => all.iter().any(Self::is_never_true),
            Self::Or(any) => any.iter().all(Self::is_never_true),
            Self::Field(_, O::In | O::ArrayContainsAny, operands) => !elements(operands).iter().any(is_comparable),
            Self::Field(_, O::NotEqual | O::NotIn, _) | Self::Unary(..) => false,
            Self::Field(_, _, operand) => !is_comparable(operand),
        }
    }

    /// Collects the paths with inequalities. A query sorts by them even if it does not say so.
    pub(super) fn inequalities<'a>(&'a self, paths: &mut Vec<&'a FieldPath>) {
        match self {
            _ if self.is_never_true() => {}
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

/// Whether filters can compare a value: null and NaN equal nothing, not even themselves, and are in no range.
fn is_comparable(value: &fs::Value) -> bool {
    !value::is_null(value) && !value::is_nan(value)
}

/// Whether a value equals the operand by the rules of filters.
fn equals(value: &fs::Value, operand: &fs::Value) -> bool {
    is_comparable(operand) && value::equal(value, operand)
}

/// Whether a value satisfies the operator. Comparisons hold only within one type, and never with null or NaN.
fn satisfies(value: &fs::Value, operator: Operator, operand: &fs::Value) -> bool {
    use Operator as O;
    let comparable = value::rank(value) == value::rank(operand) && is_comparable(value) && is_comparable(operand);
    let order = value::compare(value, operand);
    let among = |values: &[fs::Value]| values.iter().any(|candidate| equals(value, candidate));
    match operator {
        O::LessThan => comparable && order.is_lt(),
        O::LessThanOrEqual => comparable && order.is_le(),
        O::GreaterThan => comparable && order.is_gt(),
        O::GreaterThanOrEqual => comparable && order.is_ge(),
        O::Equal => equals(value, operand),
        O::NotEqual => !value::is_null(value) && !value::is_null(operand) && !equals(value, operand),
        O::ArrayContains => elements(value).iter().any(|element| equals(element, operand)),
        O::In => among(elements(operand)),
        O::NotIn => {
            !value::is_null(value) && !elements(operand).iter().any(value::is_null) && !among(elements(operand))
        }
        O::ArrayContainsAny => {
            let contained = |candidate: &fs::Value| elements(value).iter().any(|element| equals(element, candidate));
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

/// The value at a path; `__name__` is the document's name.
pub(super) fn lookup(document: &fs::Document, path: &FieldPath) -> Option<fs::Value> {
    if path.is_name() {
        return Some(of(ValueType::ReferenceValue(document.name.clone())));
    }
    path.get(&document.fields).cloned()
}

/// Checks a filter on its own, with its nested filters.
pub(super) fn parse_filter(filter: sq::Filter, depth: usize) -> Result<Filter, Status> {
    if depth > limits::MAX_QUERY_DEPTH {
        return Err(Status::invalid_argument("filters are nested too deeply"));
    }
    match filter.filter_type.ok_or_else(|| Status::invalid_argument("a filter is empty"))? {
        FilterType::CompositeFilter(composite) => {
            let operator = composite.op();
            let filters = composite.filters.into_iter();
            let filters = filters.map(|filter| parse_filter(filter, depth + 1)).collect::<Result<Vec<_>, _>>()?;
            match operator {
                sq::composite_filter::Operator::And => Ok(Filter::And(filters)),
                sq::composite_filter::Operator::Or if filters.is_empty() => {
                    Err(Status::invalid_argument("an OR filter has no filters"))
                }
                sq::composite_filter::Operator::Or => Ok(Filter::Or(filters)),
                sq::composite_filter::Operator::Unspecified => Err(unspecified()),
            }
        }
        FilterType::FieldFilter(filter) => {
            let operator = filter.op();
            let operand = filter.value.ok_or_else(|| Status::invalid_argument("a field filter has no value"))?;
            let path = parse_field(filter.field)?;
            check_operand(&path, operator, &operand)?;
            if path.is_name() && matches!(operator, Operator::ArrayContains | Operator::ArrayContainsAny) {
                return Err(Status::invalid_argument("__name__ is no array"));
            }
            Ok(Filter::Field(path, operator, operand))
        }
        FilterType::UnaryFilter(filter) => {
            let operator = filter.op();
            if operator == unary_filter::Operator::Unspecified {
                return Err(unspecified());
            }
            let Some(unary_filter::OperandType::Field(field)) = filter.operand_type else {
                return Err(Status::invalid_argument("a unary filter has no field"));
            };
            let path = parse_field(Some(field))?;
            if path.is_name() {
                return Err(Status::invalid_argument("__name__ can only be compared with references"));
            }
            Ok(Filter::Unary(path, operator))
        }
    }
}

fn check_operand(path: &FieldPath, operator: Operator, operand: &fs::Value) -> Result<(), Status> {
    let max = match operator {
        Operator::Unspecified => return Err(unspecified()),
        Operator::In | Operator::ArrayContainsAny => limits::MAX_DISJUNCTIONS,
        Operator::NotIn => limits::MAX_NOT_IN_OPERANDS,
        _ if operand.value_type.is_none() => return Err(Status::invalid_argument("a field filter has no value")),
        _ if path.is_name() => return check_reference(operand),
        _ => return Ok(()),
    };
    let operands = elements(operand);
    if operands.is_empty() || operands.len() > max {
        let operator = operator.as_str_name();
        return Err(Status::invalid_argument(format!("'{operator}' needs an array of 1 to {max} values")));
    }
    if path.is_name() { operands.iter().try_for_each(check_reference) } else { Ok(()) }
}

/// Checks an operand that is compared with a document's name.
pub(super) fn check_reference(operand: &fs::Value) -> Result<(), Status> {
    match &operand.value_type {
        Some(ValueType::ReferenceValue(name)) => DocumentName::parse(name).map(|_| ()),
        _ => Err(Status::invalid_argument("__name__ can only be compared with references")),
    }
}

/// Checks that the parts of a filter are compatible. Returns the largest number of conditions in one conjunction.
pub(super) fn check_filter(filter: &Filter) -> Result<usize, Status> {
    let invalid = |text: &str| Err(Status::invalid_argument(text));
    let max = limits::MAX_INEQUALITY_FIELDS;
    let (mut negations, mut not_in, mut alternatives) = (0, false, false);
    let (mut name_equals, mut inequalities) = (false, Vec::new());
    filter.inequalities(&mut inequalities);
    filter.visit(&mut |part| match part {
        Filter::Field(_, Operator::NotIn, _) => {
            negations += 1;
            not_in = true;
        }
        Filter::Field(_, Operator::NotEqual, _)
        | Filter::Unary(_, unary_filter::Operator::IsNotNan | unary_filter::Operator::IsNotNull) => negations += 1,
        Filter::Field(path, Operator::Equal | Operator::In, _) if path.is_name() => name_equals = true,
        _ => {}
    });
    filter.visit(&mut |part| {
        alternatives |= matches!(part, Filter::Or(_) | Filter::Field(_, Operator::In | Operator::ArrayContainsAny, _));
    });
    if negations > 1 {
        return invalid("a query has more than one of NOT_EQUAL, NOT_IN, IS_NOT_NAN and IS_NOT_NULL");
    }
    if not_in && alternatives {
        return invalid("NOT_IN cannot be combined with IN, ARRAY_CONTAINS_ANY or OR");
    }
    if name_equals && !inequalities.is_empty() && !inequalities.iter().any(|path| path.is_name()) {
        return invalid("an equality on __name__ cannot be combined with inequalities on other fields only");
    }
    if inequalities.iter().collect::<BTreeSet<_>>().len() > max {
        return Err(Status::invalid_argument(format!("a query has inequalities on more than {max} fields")));
    }
    let contains_twice = |all: &BTreeSet<Vec<u8>>| all.iter().filter(|key| key[0] == ARRAY_CONTAINS_KEY).count() > 1;
    let disjunctions = disjunctions(filter)?;
    if disjunctions.iter().any(contains_twice) {
        return invalid("a query has more than one ARRAY_CONTAINS or ARRAY_CONTAINS_ANY in a disjunction");
    }
    Ok(disjunctions.iter().map(BTreeSet::len).max().unwrap_or(0))
}

/// The first byte of the keys of array filters.
const ARRAY_CONTAINS_KEY: u8 = 1;

/// The filter in disjunctive normal form: a set of conjunctions, each a set of conditions, each encoded as a key. Equal
/// ones count once.
fn disjunctions(filter: &Filter) -> Result<BTreeSet<BTreeSet<Vec<u8>>>, Status> {
    let key = |kind: u8, path: &FieldPath, operator: i32, operand: &fs::Value| {
        let mut key = vec![kind];
        key.extend(format!("{path:?} {operator} ").into_bytes());
        key.extend(operand.encode_to_vec());
        BTreeSet::from([key])
    };
    let each = |kind: u8, path: &FieldPath, operator: Operator, operands: &fs::Value| {
        elements(operands).iter().map(|operand| key(kind, path, operator.into(), operand)).collect()
    };
    let found: BTreeSet<_> = match filter {
        Filter::Field(path, Operator::In, operands) => each(0, path, Operator::Equal, operands),
        Filter::Field(path, Operator::ArrayContainsAny, operands) => {
            each(ARRAY_CONTAINS_KEY, path, Operator::ArrayContains, operands)
        }
        Filter::Field(path, Operator::ArrayContains, operand) => {
            BTreeSet::from([key(ARRAY_CONTAINS_KEY, path, Operator::ArrayContains.into(), operand)])
        }
        Filter::Field(path, operator, operand) => BTreeSet::from([key(0, path, (*operator).into(), operand)]),
        // Key kind 2 keeps unary filters apart from operators with operands.
        Filter::Unary(path, operator) => BTreeSet::from([key(2, path, (*operator).into(), &fs::Value::default())]),
        Filter::Or(any) => {
            let mut found = BTreeSet::new();
            for filter in any {
                found.append(&mut disjunctions(filter)?);
            }
            found
        }
        Filter::And(all) => {
            let mut found = BTreeSet::from([BTreeSet::new()]);
            for filter in all {
                let more = disjunctions(filter)?;
                found = found.iter().flat_map(|a| more.iter().map(move |b| a | b)).collect();
                // Checked here, before the next factor multiplies the number again.
                check_disjunctions(found.len())?;
            }
            found
        }
    };
    check_disjunctions(found.len())?;
    Ok(found)
}

fn check_disjunctions(number: usize) -> Result<(), Status> {
    let max = limits::MAX_DISJUNCTIONS;
    if number > max {
        return Err(Status::invalid_argument(format!("a query has more than {max} disjunctions after normalization")));
    }
    Ok(())
}

/// The path of a field reference.
pub(super) fn parse_field(field: Option<sq::FieldReference>) -> Result<FieldPath, Status> {
    FieldPath::parse(&field.unwrap_or_default().field_path)
}

fn unspecified() -> Status {
    Status::invalid_argument("a filter's operator is not specified")
}
