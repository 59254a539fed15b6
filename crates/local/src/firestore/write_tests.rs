//! Every write on every kind of state before it.

use super::*;
use tonic::Code;

const NAME: &str = "projects/p/databases/(default)/documents/c/d";

fn int(number: i64) -> fs::Value {
    of(ValueType::IntegerValue(number))
}

fn fields(pairs: &[(&str, i64)]) -> HashMap<String, fs::Value> {
    pairs.iter().map(|(name, number)| ((*name).to_owned(), int(*number))).collect()
}

fn update(pairs: &[(&str, i64)]) -> fs::Write {
    let document = fs::Document { name: NAME.into(), fields: fields(pairs), ..fs::Document::default() };
    fs::Write { operation: Some(Operation::Update(document)), ..fs::Write::default() }
}

fn masked(mut write: fs::Write, paths: &[&str]) -> fs::Write {
    write.update_mask = Some(fs::DocumentMask { field_paths: paths.iter().map(|path| (*path).to_owned()).collect() });
    write
}

fn transformed(mut write: fs::Write, path: &str, kind: TransformType) -> fs::Write {
    write.update_transforms.push(FieldTransform { field_path: path.into(), transform_type: Some(kind) });
    write
}

fn apply(write: fs::Write, current: Option<&fs::Document>, now: u64) -> (fs::Document, Vec<fs::Value>) {
    let outcome = CheckedWrite::parse(write).unwrap().apply(current, now).unwrap();
    (outcome.document.unwrap(), outcome.transform_results)
}

fn refusal(mut write: fs::Write, condition: ConditionType, current: Option<&fs::Document>) -> Code {
    write.current_document = Some(fs::Precondition { condition_type: Some(condition) });
    CheckedWrite::parse(write).unwrap().check(current).map_or_else(|status| status.code(), |()| Code::Ok)
}

#[test]
fn an_update_without_mask_replaces_and_keeps_the_birthday() {
    let (first, _) = apply(update(&[("a", 1), ("b", 2)]), None, 10);
    let (second, _) = apply(update(&[("a", 3)]), Some(&first), 20);
    assert_eq!(second.fields, fields(&[("a", 3)]));
    assert_eq!(second.create_time, first.create_time);
    assert_eq!(second.update_time, Some(clock::timestamp(20)));
}

#[test]
fn a_mask_touches_only_what_it_names() {
    let (first, _) = apply(update(&[("a", 1), ("b", 2), ("c", 3)]), None, 10);
    let (second, _) = apply(masked(update(&[("a", 9), ("c", 9)]), &["a", "b"]), Some(&first), 20);
    assert_eq!(second.fields, fields(&[("a", 9), ("c", 3)]));
}

#[test]
fn preconditions_have_the_codes_of_the_real_service() {
    let (document, _) = apply(update(&[]), None, 10);
    let other = ConditionType::UpdateTime(clock::timestamp(11));
    assert_eq!(refusal(update(&[]), ConditionType::Exists(true), None), Code::NotFound);
    assert_eq!(refusal(update(&[]), ConditionType::Exists(false), Some(&document)), Code::AlreadyExists);
    assert_eq!(refusal(update(&[]), other, Some(&document)), Code::FailedPrecondition);
    assert_eq!(refusal(update(&[]), other, None), Code::FailedPrecondition);
    assert_eq!(refusal(update(&[]), ConditionType::UpdateTime(clock::timestamp(10)), Some(&document)), Code::Ok);
}

#[test]
fn numeric_transforms_report_what_they_stored() {
    let (first, _) = apply(update(&[("progress", 41), ("n", 1)]), None, 10);
    let write = masked(update(&[]), &[]);
    let write = transformed(write, "progress", TransformType::Maximum(int(40)));
    let write = transformed(write, "n", TransformType::Increment(int(2)));
    let write = transformed(write, "low", TransformType::Minimum(int(7)));
    let write = transformed(write, "at", TransformType::SetToServerValue(1));
    let (second, results) = apply(write, Some(&first), 20);
    let at = of(ValueType::TimestampValue(clock::timestamp(20)));
    assert_eq!(results, [int(41), int(3), int(7), at]);
    assert_eq!(second.fields["progress"], int(41));
}

#[test]
fn increments_stop_at_the_limits_and_mix_types() {
    assert_eq!(add(&int(i64::MAX), &int(1)), int(i64::MAX));
    assert_eq!(add(&int(1), &of(ValueType::DoubleValue(0.5))), of(ValueType::DoubleValue(1.5)));
}

#[test]
fn array_transforms_add_once_and_remove_all() {
    let list = |numbers: &[i64]| fs::ArrayValue { values: numbers.iter().map(|number| int(*number)).collect() };
    let write = transformed(update(&[]), "l", TransformType::AppendMissingElements(list(&[1, 2, 2, 3])));
    let (first, results) = apply(write, None, 10);
    assert_eq!(first.fields["l"], of(ValueType::ArrayValue(list(&[1, 2, 3]))));
    assert_eq!(results, [of(ValueType::NullValue(0))]);
    let write = transformed(masked(update(&[]), &[]), "l", TransformType::RemoveAllFromArray(list(&[1, 3])));
    let (second, _) = apply(write, Some(&first), 20);
    assert_eq!(second.fields["l"], of(ValueType::ArrayValue(list(&[2]))));
}

#[test]
fn the_old_form_of_transforms_is_taken() {
    let field_transforms =
        vec![FieldTransform { field_path: "n".into(), transform_type: Some(TransformType::Increment(int(5))) }];
    let transform = fs::DocumentTransform { document: NAME.into(), field_transforms };
    let write = fs::Write { operation: Some(Operation::Transform(transform)), ..fs::Write::default() };
    let (document, results) = apply(write, None, 10);
    assert_eq!((document.fields["n"].clone(), results), (int(5), vec![int(5)]));
}

#[test]
fn a_document_beyond_its_limit_is_refused() {
    let mut write = update(&[]);
    if let Some(Operation::Update(document)) = &mut write.operation {
        document.fields.insert("s".into(), of(ValueType::StringValue("x".repeat(limits::DOCUMENT_BYTES))));
    }
    let refused = CheckedWrite::parse(write).unwrap().apply(None, 10);
    assert_eq!(refused.err().unwrap().code(), Code::InvalidArgument);
}
