"""Segmentation service: a face photo in, a 19-class CelebAMask-HQ label map out."""
