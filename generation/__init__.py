"""From a request to what the denoising loop needs: pictures read and checked, then encoded."""
