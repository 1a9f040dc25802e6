import socket, time, json, threading, httpx
def raw(server, data, wait=5, shut=False):
    s=socket.create_connection(server.address); s.settimeout(wait)
    try:
        s.sendall(data)
        if shut: s.shutdown(socket.SHUT_WR)
        out=b""
        while True:
            try: c=s.recv(65536)
            except TimeoutError: out+=b"<TIMEOUT>"; break
            except ConnectionError as e: out+=f"<{e}>".encode(); break
            if not c: break
            out+=c
        return out
    except ConnectionError as e: return f"<send {e}>".encode()
    finally: s.close()
def test_x(server):
    key=server.client.headers["x-api-key"].encode()
    H=b"Host: x\r\nx-api-key: "+key+b"\r\n"
    body=b'{"instances": [{"age": 1, "city": "Bonn", "joined": null, "member": null}]}'
    L=str(len(body)).encode()
    def show(n,d,**k):
        t=time.time(); r=raw(server,d,**k); print("##",n,"->",r[:330], len(r), f"{time.time()-t:.1f}s")
    P=b"POST /predict/people HTTP/1.1\r\n"
    show("ok", P+H+b"Content-Type: application/json\r\nConnection: close\r\nContent-Length: "+L+b"\r\n\r\n"+body)
    show("CL+TE", P+H+b"Connection: close\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"+hex(len(body))[2:].encode()+b"\r\n"+body+b"\r\n0\r\n\r\n", wait=2)
    show("two CL", P+H+b"Content-Length: 5\r\nContent-Length: "+L+b"\r\n\r\n"+body,wait=2)
    show("neg CL", P+H+b"Content-Length: -1\r\n\r\n"+body,wait=2)
    show("big CL", P+H+b"Content-Length: 99999999999999999999999\r\n\r\n"+body,wait=2)
    show("CL plus", P+H+b"Content-Length: +5\r\n\r\n"+body,wait=2)
    show("TE obfus", P+H+b"Transfer-Encoding: xchunked\r\n\r\n"+body,wait=2)
    show("TE space", P+H+b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",wait=2)
    show("bare LF", b"GET /livez HTTP/1.1\nHost: x\nConnection: close\n\n",wait=2)
    show("chunk bad", P+H+b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",wait=2)
    show("huge chunk", P+H+b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",wait=2)
    show("pipelined", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",wait=2)
    show("half body", P+H+b"Content-Length: 1000\r\n\r\n{",wait=2,shut=True)
    show("nonutf8 path", b"GET /predict/%ff%fe%00 HTTP/1.1\r\nConnection: close\r\n"+H+b"\r\n",wait=2)
    show("raw bytes path", b"GET /predict/\xff\xfe HTTP/1.1\r\nConnection: close\r\n"+H+b"\r\n",wait=2)
    show("v2 nonutf8", b"GET /v2/models/%ff%0d%0aX: HTTP/1.1\r\nConnection: close\r\n"+H+b"\r\n",wait=2)
    show("crlf path", b"GET /v2/models/a%0d%0aX:%20y HTTP/1.1\r\nConnection: close\r\n"+H+b"\r\n",wait=2)
    show("dotdot", b"GET /predict/../api/server HTTP/1.1\r\nConnection: close\r\n"+H+b"\r\n",wait=2)
    show("dotdot open", b"GET /livez/../api/server HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n",wait=2)
    show("abs uri", b"GET http://evil/livez HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n",wait=2)
    show("abs uri2", b"GET http://evil/api/server HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n",wait=2)
    show("reqid", b"GET /livez HTTP/1.1\r\nConnection: close\r\nHost: x\r\nx-request-id: a\x0bb\r\n\r\n",wait=2)
    show("reqid nul", b"GET /livez HTTP/1.1\r\nConnection: close\r\nHost: x\r\nx-request-id: a\x00b\r\n\r\n",wait=2)
    show("garbage", b"\x16\x03\x01\x02\x00\x01\x00"*10,wait=2)
    show("connect", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",wait=2)
    show("upgrade", b"GET /predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",wait=2)
    show("h2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",wait=2)
    show("long header", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: "+b"a"*100000+b"\r\n\r\n",wait=2)
    show("long path", b"GET /"+b"a"*70000+b" HTTP/1.1\r\nHost: x\r\n\r\n",wait=2)
    show("60k path", b"GET /v2/models/"+b"a"*60000+b" HTTP/1.1\r\nConnection: close\r\n"+H+b"\r\n",wait=2)
    show("expect", P+H+b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: "+L+b"\r\n\r\n"+body,wait=2)
    c=server.client
    t=time.time(); r=c.post("/predict/people",content=b"x"*(50<<20)); print("50MB", r.status_code, r.text[:200], time.time()-t)
    t=time.time(); r=c.post("/api/jobs",content=b"x"*(50<<20)); print("50MB job", r.status_code, r.text[:200], time.time()-t)
    def gen():
        for _ in range(50): yield b"x"*(1<<20)
    t=time.time(); r=c.post("/predict/people",content=gen()); print("50MB chunked", r.status_code, r.text[:200], time.time()-t)
    # heavy bodies while watching livez
    def watch(name, f):
        lat=[]; stop=False
        def w():
            with httpx.Client(base_url=c.base_url) as h:
                while not stop:
                    t=time.time(); h.get("/livez"); lat.append(time.time()-t); time.sleep(.01)
        th=threading.Thread(target=w); th.start(); t=time.time()
        r=f(); dt=time.time()-t; stop=True; th.join()
        print("##heavy",name,r.status_code,r.text[:120],f"{dt:.2f}s livez max {max(lat or [0]):.2f}s")
    rows=[{"age":1,"city":"x%d"%i,"joined":None,"member":None} for i in range(300000)]
    big=json.dumps({"instances":rows}).encode(); print(len(big)>>20,"MB")
    watch("300k rows",lambda:c.post("/predict/people",content=big))
    watch("300k csv",lambda:c.post("/predict/people",content="\n".join(f"1,x{i},," for i in range(1000000)).encode(),headers={"content-type":"text/csv"}))
    watch("unknown keys",lambda:c.post("/predict/people",json={"instances":[{f"key{i}":1 for i in range(300000)}]}))
    watch("unknown inputs",lambda:c.post("/v2/models/people/infer",json={"inputs":[{"name":f"n{i}","shape":[1],"datatype":"FP64","data":[1]} for i in range(200000)]}))
    watch("long shape",lambda:c.post("/v2/models/people/infer",json={"inputs":[{"name":"age","shape":[2**62]*1000000,"datatype":"FP64","data":[1]}]}))
    watch("long id",lambda:c.post("/v2/models/signals/infer",json={"id":"i"*10**6,"inputs":[{"name":"x","shape":[1,100],"datatype":"FP32","data":[0]*100}]}))
    watch("long name",lambda:c.post("/v2/models/people/infer",json={"inputs":[{"name":"a"*10**7,"shape":[1],"datatype":"FP64","data":[1]}]}))
    watch("long str cell",lambda:c.post("/predict/people",json={"instances":[{"age":"a"*10**7,"city":"b"*10**7,"joined":"c"*10**7,"member":None}]}))
    watch("long str city",lambda:c.post("/predict/people",json={"instances":[{"age":1,"city":"b"*10**7,"joined":None,"member":None}]}))
    watch("nested",lambda:c.post("/predict/signals",content=b'{"x":'+b"["*900+b"1"+b"]"*900+b"}"))
    watch("nested many",lambda:c.post("/predict/signals",content=b'{"instances":['+b",".join([b"["*60+b"1"+b"]"*60]*20000)+b"]}"))
    watch("v2 nested",lambda:c.post("/v2/models/signals/infer",content=b'{"inputs":[{"name":"x","shape":[1,100],"datatype":"FP32","data":'+b"["*900+b"1"+b"]"*900+b"}]}"))
    watch("outputs x 1e5",lambda:c.post("/v2/models/signals/infer",json={"outputs":[{"name":"prediction"}]*100000,"inputs":[{"name":"x","shape":[1000,100],"datatype":"FP32","data":[0]*100000}]}))
    import numpy as np, io
    from PIL import Image
    b=io.BytesIO(); Image.fromarray(np.zeros((7900,7900),dtype=np.uint8)).save(b,"PNG"); print("bomb",len(b.getvalue()))
    watch("png 62M px",lambda:c.post("/predict/digits",content=b.getvalue(),headers={"content-type":"image/png"}))
    b=io.BytesIO(); Image.fromarray(np.zeros((7900,7900),dtype=np.uint8)).convert("RGB").save(b,"GIF"); print("bomb",len(b.getvalue()))
    watch("gif 62M px",lambda:c.post("/predict/digits",content=b.getvalue(),headers={"content-type":"image/gif"}))
    parts=b"".join(b'--b\r\nContent-Disposition: form-data; name="f"; filename="x%d.png"\r\n\r\n\r\n'%i for i in range(200000))+b"--b--\r\n"
    watch("multipart 200k files",lambda:c.post("/predict/digits",content=parts,headers={"content-type":"multipart/form-data; boundary=b"}))
    parts=b"".join(b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n\r\n'%i for i in range(200000))+b"--b--\r\n"
    watch("multipart 200k fields",lambda:c.post("/predict/digits",content=parts,headers={"content-type":"multipart/form-data; boundary=b"}))
    parts=b"--b\r\n"+b"X-H: y\r\n"*500000+b"\r\n\r\n--b--\r\n"
    watch("multipart 500k headers",lambda:c.post("/predict/digits",content=parts,headers={"content-type":"multipart/form-data; boundary=b"}))
    parts=b"--b\r\n"+b"X-H: "+b"y"*20000000+b"\r\n\r\n\r\n--b--\r\n"
    watch("multipart 20MB header",lambda:c.post("/predict/digits",content=parts,headers={"content-type":"multipart/form-data; boundary=b"}))
    watch("csv quotes",lambda:c.post("/predict/people",content=b'"'*20000000,headers={"content-type":"text/csv"}))
    watch("csv commas",lambda:c.post("/predict/people",content=b','*20000000,headers={"content-type":"text/csv"}))
    watch("csv newlines",lambda:c.post("/predict/people",content=b'\n'*20000000,headers={"content-type":"text/csv"}))
    watch("csv cr",lambda:c.post("/predict/people",content=b'\r'*20000000,headers={"content-type":"text/csv"}))
    print(server.log()[-3000:])
