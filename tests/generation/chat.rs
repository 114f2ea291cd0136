//! The model of `examples/chat`: trained here, compiled, and its answers letter by letter.

use accelerant::Result;
use accelerant::generate::{Decoder, DecoderOptions, End, GenerateOptions};

use crate::{compiled, runtimes};

#[path = "../../examples/chat/trained.rs"]
mod trained;

#[test]
fn a_model_that_was_just_trained_answers_what_it_learned() -> Result<()> {
    let (config, weights, loss) = trained::train().expect("trained");
    assert!(loss < 0.02, "a loss of {loss}");
    let decoder = Decoder::new(config, weights);
    for kind in runtimes() {
        let module = compiled(&decoder, DecoderOptions::new(96), kind)?;
        for (question, answer) in trained::TALK {
            let options = GenerateOptions::new();
            let mut text =
                module.generate(&trained::prompt(question), &options)?.text(trained::spelled);
            let pieces: Vec<String> = text.by_ref().collect::<Result<_>>()?;
            assert_eq!((pieces.concat().as_str(), text.end()), (answer, Some(End::StopToken)));
            assert!(pieces.len() > 4, "{pieces:?}");
        }
        // What the model never saw is answered somehow, and ends.
        let odd = "x".repeat(1000);
        let text = module
            .generate(&trained::prompt(&odd), &GenerateOptions::new())?
            .text(trained::spelled);
        text.collect::<Result<String>>()?;
    }
    Ok(())
}
