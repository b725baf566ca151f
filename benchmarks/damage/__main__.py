import sys,random,time,traceback,tempfile,collections
from pathlib import Path
from benchmarks.damage.shop import opened
from benchmarks.damage.targets import *
from benchmarks.damage.learning import *
from functools import partial
from tests.support.tiny_backbone import tiny_backbone
with tempfile.TemporaryDirectory() as t:
    t=Path(t)
    with opened(t,tiny_backbone(t/"b")) as shop:
        s=SnapshotCases(shop);h=HistoryCases(shop)
        k=CheckpointCases(shop);t_=ControlCases(shop);cases=[s.full,s.delta,s.base,s.announcement,h.record]+[k.newest]*3+[t_.record]*2+[t_.candidate]*2+[t_.plan]+[partial(journal_case,shop)]
        if len(sys.argv)>3 and sys.argv[3]=='L': cases=cases[5:]
        c=collections.Counter(); began=time.time()
        for n in range(int(sys.argv[1])):
            r=random.Random(f"{sys.argv[2]}/{n}")
            try: o=r.choice(cases)(r,r.random()<.5)
            except Exception as e:
                print(n,"EXC"); traceback.print_exc(); break
            c[o.target,o.is_forged,o.verdict]+=1
            if o.verdict in (Verdict.FINDING,): print(n,o)
            if "-v" in sys.argv: print(n,o)
        print(time.time()-began, shop.client.answers, shop.client.failures[:3])
        for k,v in sorted(c.items()): print(k,v)
