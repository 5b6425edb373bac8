"""Quality service: is a generated face good enough to keep? (MixNet-S, two classes)"""
