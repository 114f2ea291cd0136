//! What the attribute cannot turn, with the message and the place where it stands. The files are
//! in `ui/`; `TRYBUILD=overwrite` writes the messages anew.

#[test]
fn what_cannot_be_turned_is_told_where_it_stands() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
