"""The page at /docs: self-contained, it reads /openapi.json and lets one send requests."""
# ruff: noqa: E501 - markup

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Trimtab API</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
summary{cursor:pointer;padding:.4rem 0}details details{margin-left:1.2rem}code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:#f4f6f8;padding:.8rem;overflow:auto;border-radius:6px}b.m{display:inline-block;width:4.5rem;color:#0a5}
td,th{text-align:left;vertical-align:top;padding:.15rem .8rem .15rem 0;border-top:1px solid #e4e8ec}table{border-spacing:0;width:100%}
textarea{width:100%;min-height:8rem;font:13px ui-monospace,monospace}p{margin:.3rem 0}
@media(prefers-color-scheme:dark){body{background:#14171a;color:#dfe3e8}pre{background:#1e2329}td,th{border-color:#2c323a}}
</style>
<h1>Trimtab API</h1><p><a href="/openapi.json">/openapi.json</a> is the machine-readable form.</p>
<p><label>API key <input id="key" type="password" autocomplete="off"></label></p><main id="all">Loading</main>
<script>
const make=(tag,text,...inside)=>{const e=document.createElement(tag);if(text)e.textContent=text;e.append(...inside);return e};
const key=()=>document.getElementById('key').value;
const auth=()=>key()?{Authorization:'Bearer '+key()}:{};
const kind=s=>!s?'':s.$ref?s.$ref.split('/').pop():s.const!==undefined?JSON.stringify(s.const):s.enum?s.enum.join(' | '):
  s.anyOf||s.oneOf?(s.anyOf||s.oneOf).map(kind).join(' | '):s.type==='array'?'list of '+kind(s.items):String(s.type||'any');
const fields=s=>{const t=make('table');for(const[n,f]of Object.entries(s.properties||{})){const r=make('tr');
  r.append(make('td','',make('code',n+((s.required||[]).includes(n)?' *':''))),make('td',kind(f)),make('td',f.description||''));t.append(r)}return t};
const tryIt=(method,path,body)=>{const box=make('details','',make('summary','Try it')),area=make('textarea'),go=make('button','Send'),out=make('pre');
  const url=make('input');url.value=path;url.size=60;if(body)area.value=body;box.append(url);if(method!=='get')box.append(area);box.append(go,out);
  go.onclick=async()=>{out.textContent='';const r=await fetch(url.value,{method:method.toUpperCase(),headers:{...auth(),...(method==='get'?{}:
    {'Content-Type':'application/json'})},body:method==='get'?undefined:area.value});out.textContent=r.status+' '+r.statusText+'\\n';
    const d=new TextDecoder();for await(const c of r.body)out.textContent+=d.decode(c,{stream:true})};return box};
fetch('/openapi.json',{headers:auth()}).then(r=>r.json()).then(doc=>{const all=document.getElementById('all');all.textContent='';
  for(const[path,ops]of Object.entries(doc.paths))for(const[method,op]of Object.entries(ops)){
    let s=op.requestBody&&Object.values(op.requestBody.content)[0].schema;if(s&&s.$ref)s=doc.components.schemas[kind(s)];
    const d=make('details','',make('summary','',make('b',method.toUpperCase()),make('code',path)));d.querySelector('b').className='m';
    d.append(make('p',op.description||op.summary||''));if(s)d.append(fields(s));
    d.append(tryIt(method,path,path==='/v1/chat/completions'?'{"model": "MODEL", "messages": [{"role": "user", "content": "Hello!"}]}':s?'{}':''));
    all.append(d)}
  const head=make('h2','Schemas');all.append(head);for(const[n,s]of Object.entries(doc.components.schemas)){
    const d=make('details','',make('summary','',make('code',n)));d.append(make('p',s.description||''),s.properties?fields(s):make('pre',JSON.stringify(s,null,1)));all.append(d)}});
</script></html>
"""
