// Included where models are listed, for tensors of two types.

macro_rules! case {
    ($list:ident, $name:literal, [$($input:expr),*], |$vb:ident| $build:expr, |$m:ident, $x:ident| $run:expr) => {
        $list.push(Case {
            name: $name,
            call: stringify!($run),
            inputs: vec![$($input),*],
            build: |vb| {
                let $vb: VarBuilder<'static> = vb.into();
                let model = Rc::new($build);
                let stands = stands!(model);
                let run = move |$x: &[Tensor]| -> Result<Vec<Tensor>> {
                    let $m = &*model;
                    Ok(vec![$run])
                };
                Ok(Model { stands, run: Box::new(run) })
            },
        })
    };
}
