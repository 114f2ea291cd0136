// Included by `native` and by `traced`, whose tensors are of different types. All models are in the
// crate `zoo`.

/// A picture by convolutions, one by attention, an encoder and a decoder of texts.
pub(crate) fn all() -> Vec<Case<Tensor>> {
    use models::*;
    let mut list = Vec::new();
    case!(list, "resnet", [image(64)], |vb| resnet::resnet18(10, vb)?, |m, x| m.forward(&x[0])?);
    case!(list, "vit", [image(32)], |vb| {
        let config = config(
            r#""hidden_act": "gelu", "image_size": 32, "patch_size": 8, "num_channels": 3, "qkv_bias": true"#,
        );
        vit::Model::new(&config, 5, vb)?
    }, |m, x| m.forward(&x[0])?);
    case!(list, "bert", [ids(9, 64), ids(9, 64).affine(0., 0.).unwrap()], |vb| {
        bert::BertModel::load(vb, &config(r#""hidden_act": "gelu""#))?
    }, |m, x| m.forward(&x[0], &x[1], None)?);
    case!(list, "mistral", [ids(7, 64)], |vb| mistral::Model::new(&config(""), vb)?, |m, x| {
        m.clone().forward(&x[0], 0)?
    });
    list
}
