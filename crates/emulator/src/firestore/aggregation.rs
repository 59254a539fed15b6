//! Aggregations over the result of a query.

use super::{
    fs,
    path::{self, FieldPath},
    value::{self, of},
    write,
};
use crate::limits;
use fs::{structured_aggregation_query as saq, value::ValueType};
use std::collections::BTreeSet;
use tonic::Status;

/// The aggregations of one query, by alias.
pub(super) struct Aggregations(Vec<(String, Aggregation)>);

enum Aggregation {
    /// The largest count to report (`up_to`).
    Count(usize),
    Sum(FieldPath),
    Average(FieldPath),
}

impl Aggregations {
    /// Checks aggregations and gives aliases to those without one.
    pub(super) fn parse(aggregations: Vec<saq::Aggregation>) -> Result<Self, Status> {
        let invalid = |text: String| Err(Status::invalid_argument(text));
        let max = limits::MAX_AGGREGATIONS;
        if aggregations.is_empty() || aggregations.len() > max {
            return invalid(format!("a query needs 1 to {max} aggregations, got {}", aggregations.len()));
        }
        let (mut aliases, mut unnamed) = (BTreeSet::new(), 0);
        let mut parsed = Vec::with_capacity(aggregations.len());
        for aggregation in aggregations {
            let operator = aggregation.operator.ok_or_else(|| Status::invalid_argument("an aggregation is empty"))?;
            let mut alias = aggregation.alias;
            if alias.is_empty() {
                unnamed += 1;
                alias = format!("field_{unnamed}");
            }
            path::check_field(&alias)?;
            if path::is_reserved(&alias) {
                return invalid(format!("the alias \"{alias}\" is reserved"));
            }
            if !aliases.insert(alias.clone()) {
                return invalid(format!("the alias \"{alias}\" is used twice"));
            }
            parsed.push((alias, Aggregation::parse(operator)?));
        }
        Ok(Self(parsed))
    }

    /// The aggregated fields, in the order of their names.
    pub(super) fn paths(&self) -> Vec<FieldPath> {
        let path = |aggregation: &Aggregation| match aggregation {
            Aggregation::Count(_) => None,
            Aggregation::Sum(path) | Aggregation::Average(path) => Some(path.clone()),
        };
        let paths: BTreeSet<_> = self.0.iter().filter_map(|(_, aggregation)| path(aggregation)).collect();
        paths.into_iter().collect()
    }

    /// The results over these documents.
    pub(super) fn evaluate(&self, documents: &[fs::Document]) -> fs::AggregationResult {
        let results = self.0.iter().map(|(alias, aggregation)| (alias.clone(), aggregation.evaluate(documents)));
        fs::AggregationResult { aggregate_fields: results.collect() }
    }
}

impl Aggregation {
    fn parse(operator: saq::aggregation::Operator) -> Result<Self, Status> {
        use saq::aggregation::Operator;
        let path = |field: Option<fs::structured_query::FieldReference>| {
            let path = FieldPath::parse(&field.unwrap_or_default().field_path)?;
            if path.is_name() { Err(Status::invalid_argument("__name__ cannot be aggregated")) } else { Ok(path) }
        };
        match operator {
            Operator::Count(count) => match count.up_to.map_or(Ok(usize::MAX), usize::try_from) {
                Ok(max) if max > 0 => Ok(Self::Count(max)),
                _ => Err(Status::invalid_argument("up_to is not greater than zero")),
            },
            Operator::Sum(sum) => path(sum.field).map(Self::Sum),
            Operator::Avg(average) => path(average.field).map(Self::Average),
        }
    }

    fn evaluate(&self, documents: &[fs::Document]) -> fs::Value {
        match self {
            Self::Count(max) => {
                let count = documents.len().min(*max);
                of(ValueType::IntegerValue(i64::try_from(count).unwrap_or(i64::MAX)))
            }
            Self::Sum(path) => sum(&numbers(documents, path)),
            Self::Average(path) => average(&numbers(documents, path)),
        }
    }
}

/// The numbers in a field; values of other types are ignored.
fn numbers<'a>(documents: &'a [fs::Document], path: &FieldPath) -> Vec<&'a fs::Value> {
    let values = documents.iter().filter_map(|document| path.get(&document.fields));
    values.filter(|value| value::is_number(value)).collect()
}

/// The sum of integers is an integer if it fits, even if an intermediate sum does not; otherwise it is a double.
fn sum(numbers: &[&fs::Value]) -> fs::Value {
    let integers = numbers.iter().map(|number| match number.value_type {
        Some(ValueType::IntegerValue(number)) => Some(i128::from(number)),
        _ => None,
    });
    match integers.sum::<Option<i128>>().map(i64::try_from) {
        Some(Ok(sum)) => of(ValueType::IntegerValue(sum)),
        _ => of(ValueType::DoubleValue(sum_of_doubles(numbers))),
    }
}

/// Adds doubles together with the rounding error of each addition (Neumaier's sum), so that the order of documents has
/// almost no effect.
fn sum_of_doubles(numbers: &[&fs::Value]) -> f64 {
    let (mut sum, mut compensation) = (0.0_f64, 0.0_f64);
    for number in numbers.iter().map(|number| write::as_double(number)) {
        let next = sum + number;
        compensation += if sum.abs() >= number.abs() { (sum - next) + number } else { (number - next) + sum };
        sum = next;
    }
    // With infinities, the rounding error is NaN.
    if compensation.is_finite() { sum + compensation } else { sum }
}

fn average(numbers: &[&fs::Value]) -> fs::Value {
    if numbers.is_empty() {
        return of(ValueType::NullValue(0));
    }
    #[expect(clippy::cast_precision_loss, reason = "there are never 2^52 documents")]
    of(ValueType::DoubleValue(sum_of_doubles(numbers) / numbers.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(number: i64) -> fs::Value {
        of(ValueType::IntegerValue(number))
    }

    #[test]
    fn an_intermediate_sum_may_exceed_the_largest_integer() {
        let numbers = [int(i64::MAX - 5), int(10), int(-9)];
        let sum_in = |order: [usize; 3]| sum(&order.map(|index| &numbers[index]));
        assert_eq!(sum_in([0, 1, 2]), int(i64::MAX - 4));
        assert_eq!(sum_in([2, 1, 0]), int(i64::MAX - 4));
        assert_eq!(sum(&[&int(i64::MAX), &int(1)]), of(ValueType::DoubleValue(9_223_372_036_854_775_808.0)));
    }

    #[test]
    fn a_sum_of_fractions_compensates_rounding_errors() {
        let numbers = [0.1, 0.2, 0.3, f64::INFINITY].map(|number| of(ValueType::DoubleValue(number)));
        let [a, b, c, infinity] = &numbers;
        assert_eq!(sum(&[a, b, c]), of(ValueType::DoubleValue(0.6)));
        assert_eq!(average(&[a, b, c]), of(ValueType::DoubleValue(0.6 / 3.0)));
        assert_eq!(sum(&[a, infinity]), of(ValueType::DoubleValue(f64::INFINITY)));
    }

    #[test]
    fn aggregations_that_the_real_service_rejects_are_rejected() {
        let count = |alias: &str| saq::Aggregation {
            alias: alias.into(),
            operator: Some(saq::aggregation::Operator::Count(saq::aggregation::Count { up_to: None })),
        };
        let rejected = |aggregations: Vec<saq::Aggregation>| Aggregations::parse(aggregations).is_err();
        assert!(rejected(vec![]));
        assert!(rejected(vec![count("a"), count("a")]));
        assert!(rejected(vec![count("__a__")]));
        assert!(rejected((0..6).map(|number| count(&format!("a{number}"))).collect()));
        let name = Some(fs::structured_query::FieldReference { field_path: "__name__".into() });
        let sum = saq::aggregation::Operator::Sum(saq::aggregation::Sum { field: name });
        assert!(rejected(vec![saq::Aggregation { alias: String::new(), operator: Some(sum) }]));
        assert!(rejected(vec![count(""), count("field_1")]), "the first aggregation without an alias gets this one");
        let named = Aggregations::parse(vec![count(""), count("a"), count("")]).unwrap();
        let aliases: Vec<_> = named.0.iter().map(|(alias, _)| alias.as_str()).collect();
        assert_eq!(aliases, ["field_1", "a", "field_2"]);
    }
}
