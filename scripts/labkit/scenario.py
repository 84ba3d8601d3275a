def main_job(*a, **k): raise NotImplementedError
