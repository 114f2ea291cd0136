//! The models, read together.

accelerant::traced!(pub mod models = candle_transformers::models::{
    based, beit, bert, bigcode, blip, blip_text, chatglm, chinese_clip, clip, codegeex4_9b, colpali,
    convmixer, convnext, csm, dac, debertav2, deepseek2, depth_anything_v2, dinov2, dinov2reg4,
    distilbert, efficientnet, efficientvit, encodec, eva2, falcon, fastvit, flux, gemma, gemma2,
    gemma3, gemma4, glm4, glm4_new, granite, granitemoehybrid, helium, hiera, jina_bert, lfm2,
    llama, llama2_c, llama2_c_weights, llava, mamba, mamba2, marian, metavoice, mimi, mistral,
    mixformer, mixtral, mmdit, mobileclip, mobilenetv4, mobileone, modernbert, moondream, mpt,
    nomic_bert, nvembed_v2, olmo, olmo2, openclip, paddleocr_vl, paligemma, parler_tts, persimmon,
    phi, phi3, pixtral, qwen2, qwen2_moe, qwen3, qwen3_moe, qwen3_vl, recurrent_gemma, repvgg,
    resnet, rwkv_v5, rwkv_v6, rwkv_v7, segformer, segment_anything, siglip, smol, snac,
    stable_diffusion, stable_lm, starcoder2, stella_en_v5, t5, trocr, vgg, vit, voxtral, whisper,
    with_tracing, wuerstchen, xlm_roberta, yi, z_image,
});
