//! Every kind of write on every kind of previous state.

use super::*;
use tonic::Code;

const NAME: &str = "projects/p/databases/(default)/documents/c/d";

fn int(number: i64) -> fs::Value {
    of(ValueType::IntegerValue(number))
}

fn fields(pairs: &[(&str, i64)]) -> HashMap<String, fs::Value> {
    pairs.iter().map(|(name, number)| ((*name).to_owned(), int(*number))).collect()
}

fn update(pairs: &[(&str, i64)]) -> Write {
    let document = fs::Document { name: NAME.into(), fields: fields(pairs), ..fs::Document::default() };
    Write { operation: Some(Operation::Update(document)), ..Write::default() }
}

fn masked(mut write: Write, paths: &[&str]) -> Write {
    write.update_mask = Some(fs::DocumentMask { field_paths: paths.iter().map(|path| (*path).to_owned()).collect() });
    write
}

fn transformed(mut write: Write, path: &str, kind: TransformType) -> Write {
    write.update_transforms.push(FieldTransform { field_path: path.into(), transform_type: Some(kind) });
    write
}

fn apply(write: Write, current: Option<&fs::Document>, now: u64) -> (fs::Document, Vec<fs::Value>) {
    let outcome = CheckedWrite::parse(write).unwrap().apply(current, now).unwrap();
    (outcome.document.unwrap(), outcome.transform_results)
}

fn check_code(mut write: Write, condition: ConditionType, current: Option<&fs::Document>) -> Code {
    write.current_document = Some(fs::Precondition { condition_type: Some(condition) });
    CheckedWrite::parse(write).unwrap().check(current).map_or_else(|status| status.code(), |()| Code::Ok)
}

#[test]
fn an_update_without_mask_replaces_and_keeps_the_create_time() {
    let (first, _) = apply(update(&[("a", 1), ("b", 2)]), None, 10);
    let (second, _) = apply(update(&[("a", 3)]), Some(&first), 20);
    assert_eq!(second.fields, fields(&[("a", 3)]));
    assert_eq!(second.create_time, first.create_time);
    assert_eq!(second.update_time, Some(clock::timestamp(20)));
}

#[test]
fn a_mask_changes_only_the_fields_that_it_names() {
    let (first, _) = apply(update(&[("a", 1), ("b", 2), ("c", 3)]), None, 10);
    let (second, _) = apply(masked(update(&[("a", 9), ("c", 9)]), &["a", "b"]), Some(&first), 20);
    assert_eq!(second.fields, fields(&[("a", 9), ("c", 3)]));
}

#[test]
fn preconditions_have_the_codes_of_the_real_service() {
    let (document, _) = apply(update(&[]), None, 10);
    let other = ConditionType::UpdateTime(clock::timestamp(9));
    let later = ConditionType::UpdateTime(clock::timestamp(11));
    assert_eq!(check_code(update(&[]), ConditionType::Exists(true), None), Code::NotFound);
    assert_eq!(check_code(update(&[]), ConditionType::Exists(false), Some(&document)), Code::AlreadyExists);
    assert_eq!(check_code(update(&[]), other, Some(&document)), Code::FailedPrecondition);
    assert_eq!(check_code(update(&[]), other, None), Code::FailedPrecondition);
    assert_eq!(check_code(update(&[]), later, Some(&document)), Code::InvalidArgument);
    assert_eq!(check_code(update(&[]), later, None), Code::FailedPrecondition);
    assert_eq!(check_code(update(&[]), ConditionType::UpdateTime(clock::timestamp(10)), Some(&document)), Code::Ok);
}

#[test]
fn numeric_transforms_report_what_they_stored() {
    let (first, _) = apply(update(&[("progress", 41), ("n", 1)]), None, 10);
    let write = masked(update(&[]), &[]);
    let write = transformed(write, "progress", TransformType::Maximum(int(40)));
    let write = transformed(write, "n", TransformType::Increment(int(2)));
    let write = transformed(write, "low", TransformType::Minimum(int(7)));
    let write = transformed(write, "at", TransformType::SetToServerValue(1));
    let (second, results) = apply(write, Some(&first), 20_999);
    let at = of(ValueType::TimestampValue(clock::timestamp(20_000)));
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
fn the_old_form_of_transforms_is_accepted() {
    let field_transforms =
        vec![FieldTransform { field_path: "n".into(), transform_type: Some(TransformType::Increment(int(5))) }];
    let transform = fs::DocumentTransform { document: NAME.into(), field_transforms };
    let write = Write { operation: Some(Operation::Transform(transform)), ..Write::default() };
    let (document, results) = apply(write, None, 10);
    assert_eq!((document.fields["n"].clone(), results), (int(5), vec![int(5)]));
}

#[test]
fn a_document_beyond_the_size_limit_is_rejected() {
    let sized = |bytes: usize| {
        let half = |bytes| of(ValueType::BytesValue(vec![0; bytes]));
        // 52 bytes for `c/d` and two for each name.
        let rest = bytes - 52 - 4 - 500_000;
        let fields = [("a".to_owned(), half(500_000)), ("b".to_owned(), half(rest))].into();
        let document = fs::Document { name: NAME.into(), fields, ..fs::Document::default() };
        CheckedWrite::parse(operation(Operation::Update(document))).unwrap().apply(None, 10)
    };
    assert!(sized(1_048_576).is_ok());
    assert!(sized(1_048_577).is_err());
    let long = fs::Document {
        name: NAME.into(),
        fields: [("a".to_owned(), of(ValueType::BytesValue(vec![0; 1_048_488])))].into(),
        ..fs::Document::default()
    };
    assert!(CheckedWrite::parse(operation(Operation::Update(long))).is_err());
}

fn parsed(write: Write, condition: Option<ConditionType>) -> Result<CheckedWrite, tonic::Status> {
    let current_document = condition.map(|condition_type| fs::Precondition { condition_type: Some(condition_type) });
    CheckedWrite::parse(Write { current_document, ..write })
}

fn operation(operation: Operation) -> Write {
    Write { operation: Some(operation), ..Write::default() }
}

#[test]
fn a_verify_checks_and_changes_nothing() {
    let (document, _) = apply(update(&[("a", 1)]), None, 10);
    let verify = || operation(Operation::Verify(NAME.into()));
    let right = ConditionType::UpdateTime(clock::timestamp(10));
    let write = parsed(verify(), Some(right)).unwrap();
    assert!(write.check(Some(&document)).is_ok());
    assert_eq!(write.apply(Some(&document), 20).unwrap().document, Some(document.clone()));
    let code = |condition, current| parsed(verify(), Some(condition)).unwrap().check(current).unwrap_err().code();
    assert_eq!(code(ConditionType::Exists(false), Some(&document)), Code::AlreadyExists);
    assert_eq!(code(ConditionType::Exists(true), None), Code::NotFound);
    for rejected in [
        parsed(verify(), None),
        parsed(masked(verify(), &["a"]), Some(ConditionType::Exists(true))),
        parsed(transformed(verify(), "a", TransformType::Increment(int(1))), Some(ConditionType::Exists(true))),
    ] {
        assert_eq!(rejected.err().map(|status| status.code()), Some(Code::InvalidArgument));
    }
}

#[test]
fn preconditions_on_one_document_must_follow_from_the_previous_write() {
    let at = ConditionType::UpdateTime(clock::timestamp(10));
    let (exists, missing) = (ConditionType::Exists(true), ConditionType::Exists(false));
    let set = |condition| parsed(update(&[]), condition).unwrap();
    let delete = |condition| parsed(operation(Operation::Delete(NAME.into())), condition).unwrap();
    let verify = || parsed(operation(Operation::Verify(NAME.into())), Some(exists)).unwrap();
    let code = |writes: [CheckedWrite; 2]| check_sequence(&writes).map_or_else(|status| status.code(), |()| Code::Ok);
    assert_eq!(code([delete(None), set(Some(exists))]), Code::InvalidArgument);
    assert_eq!(code([set(Some(missing)), set(Some(missing))]), Code::InvalidArgument);
    assert_eq!(code([delete(None), delete(Some(exists))]), Code::InvalidArgument);
    assert_eq!(code([set(None), set(Some(at))]), Code::InvalidArgument);
    assert_eq!(code([set(None), verify()]), Code::InvalidArgument);
    assert_eq!(code([verify(), set(None)]), Code::InvalidArgument);
    assert_eq!(code([delete(None), set(Some(missing))]), Code::Ok);
    assert_eq!(code([set(Some(missing)), set(Some(exists))]), Code::Ok);
    assert_eq!(code([set(Some(at)), delete(Some(at))]), Code::Ok);
    assert_eq!(code([set(Some(at)), set(None)]), Code::Ok);
}

#[test]
fn transforms_of_overlapping_fields_are_rejected() {
    let increment = || TransformType::Increment(int(1));
    let overlapping = transformed(transformed(update(&[]), "a", increment()), "a.b", increment());
    assert!(parsed(overlapping, None).is_err());
    assert!(parsed(transformed(transformed(update(&[]), "a", increment()), "a", increment()), None).is_ok());
    assert!(parsed(transformed(update(&[]), "__name__", increment()), None).is_err());
}
