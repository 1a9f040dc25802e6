"""Why a model answers as it does: by what it answers when parts of a row are taken away, and by its gradients."""
