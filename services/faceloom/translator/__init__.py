"""The translator service: a drawing or a label map in, faces out, in any style."""
